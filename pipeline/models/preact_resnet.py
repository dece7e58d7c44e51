"""A small pre-activation residual network, after CMU DeepLens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.models.layers import Head, Network, Stem, convolution


class PreactResnet(Network):
    """Stages of bottleneck blocks with normalisation and ELU before each convolution.

    The block is that of Lanusse et al. 2018 (MNRAS 473, 3895, figure 4) with far fewer of them: theirs has
    46 layers, this one 3 a block.

    Parameters
    ----------
    channels : int
        Input channels.
    width : int
        Features of the first stage, doubled in each next one.
    blocks : int
        Blocks in each of the three stages.
    dropout : float
        Share of hidden features dropped in training.
    """

    def __init__(self, channels: int, width: int = 32, blocks: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = Stem(channels, width)
        stages: list[nn.Module] = []
        features = width
        for stage in range(3):
            outputs = width * 2**stage
            for block in range(blocks):
                stages.append(_Bottleneck(features, outputs, stride=2 if block == 0 else 1))
                features = outputs
        self.stages = nn.Sequential(*stages, nn.BatchNorm2d(features), nn.ELU())
        self.head = Head(features, 64, dropout)

    def encode(self, x: Tensor) -> Tensor:
        """Map (n, channels, y, x), y and x even, to a feature map (n, features, y/16, x/16)."""
        features: Tensor = self.stages(self.stem(x))
        return features


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        middle = outputs // 2
        self.first = nn.BatchNorm2d(inputs)
        self.reduce = convolution(inputs, middle, 1)
        self.second = nn.BatchNorm2d(middle)
        self.spatial = convolution(middle, middle, 3, stride=stride)
        self.third = nn.BatchNorm2d(middle)
        self.expand = convolution(middle, outputs, 1)
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else convolution(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        elu = nn.functional.elu
        activated = elu(self.first(x))
        shortcut = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(activated)
        x = self.reduce(activated)
        x = self.spatial(elu(self.second(x)))
        x = self.expand(elu(self.third(x)))
        return torch.add(x, shortcut)
