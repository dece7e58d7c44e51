"""A residual network whose blocks look at three scales at once."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from pipeline.models.layers import Head, Network, Stem, convolution


class Multiscale(Network):
    """Residual blocks with parallel 1 x 1, 3 x 3 and dilated 3 x 3 convolutions.

    The dilated branch spans 5 pixels of its grid: arcs of different radius meet a filter of their size
    in the same block.

    Parameters
    ----------
    channels : int
        Input channels.
    width : int
        Features of the first stage; each of the three stages doubles them, but the last adds half.
    dropout : float
        Share of hidden features dropped in training.
    """

    def __init__(self, channels: int, width: int = 24, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = Stem(channels, width)
        widths = (width, width, 2 * width, 3 * width)
        stages: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            stages += [convolution(inputs, outputs, 3, stride=2), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            stages += [_Block(outputs)]
        self.stages = nn.Sequential(*stages)
        self.head = Head(widths[-1], 64, dropout)

    def encode(self, x: Tensor) -> Tensor:
        """Map (n, channels, y, x), y and x even, to a feature map (n, features, y/16, x/16)."""
        features: Tensor = self.stages(self.stem(x))
        return features


class _Block(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        part = max(features // 2, 8)
        self.point = convolution(features, part, 1)
        self.near = convolution(features, part, 3)
        self.far = convolution(features, part, 3, dilation=2)
        self.norm = nn.BatchNorm2d(3 * part)
        self.merge = convolution(3 * part, features, 1)
        self.merged = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        scales = torch.cat([self.point(x), self.near(x), self.far(x)], dim=1)
        answer: Tensor = torch.relu(x + self.merged(self.merge(torch.relu(self.norm(scales)))))
        return answer
