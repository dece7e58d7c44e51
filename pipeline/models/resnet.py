"""ResNet-18 for small stamps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.models.layers import Head, Network, Stem, convolution


class Resnet(Network):
    """Stages of basic blocks, each twice as wide on half the grid.

    The network of He et al. 2016 (CVPR, 770, table 1) with 18 layers where `blocks` is 2; theirs has a width of
    64. Its entrance, a convolution of 7 x 7 and a pooling that quarter the grid, is replaced by the stem, which
    halves it: arcs are a few pixels wide.

    Parameters
    ----------
    channels : int
        Input channels.
    width : int
        Features of the first of the four stages, doubled in each next one.
    blocks : int
        Blocks of two convolutions in each stage.
    dropout : float
        Share of hidden features dropped in training.
    """

    def __init__(self, channels: int, width: int = 16, blocks: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = Stem(channels, width)
        self.stages = stages_of(width, blocks, 4)
        self.head = Head(8 * width, 64, dropout)

    def encode(self, x: Tensor) -> Tensor:
        """Map (n, channels, y, x), y and x even, to a feature map (n, 8 width, y/16, x/16)."""
        features: Tensor = self.stages(self.stem(x))
        return features


def stages_of(width: int, blocks: int, number: int) -> nn.Sequential:
    """Stages of basic blocks on `width` features: each after the first twice as wide on half the grid."""
    stages: list[nn.Module] = []
    features = width
    for stage in range(number):
        outputs = width * 2**stage
        for block in range(blocks):
            stages.append(Basic(features, outputs, stride=2 if stage > 0 and block == 0 else 1))
            features = outputs
    return nn.Sequential(*stages)


class Basic(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016, figure 5, left; where the grid halves, option B of 4.1).

    Parameters
    ----------
    inputs, outputs : int
        Features before and after.
    stride : int
        By which the grid shrinks.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(convolution(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs), nn.ReLU())
        self.second = nn.Sequential(convolution(outputs, outputs, 3), nn.BatchNorm2d(outputs))
        same = inputs == outputs and stride == 1
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, inputs, y, x) to (n, outputs, y/stride, x/stride)."""
        answer: Tensor = torch.relu(self.second(self.first(x)) + self.shortcut(x))
        return answer
