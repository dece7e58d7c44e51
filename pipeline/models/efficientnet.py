"""A compact EfficientNet: inverted bottlenecks whose channels are weighed by what the whole stamp shows."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.models.layers import Head, Network, Stem, convolution


class _Stage(NamedTuple):
    expansion: int
    features: int
    blocks: int
    stride: int
    kernel: int


_STAGES = (
    _Stage(1, 16, 1, 1, 3),
    _Stage(4, 24, 2, 2, 3),
    _Stage(4, 40, 2, 2, 5),
    _Stage(4, 80, 3, 2, 3),
    _Stage(4, 112, 2, 1, 5),
)
"""Those of EfficientNet-B0 that fit stamps of 64 px, with an expansion of 4 instead of 6."""

_SQUEEZE = 4
"""The layer between squeeze and excitation has a block's input features over this."""

_MULTIPLE = 8
"""Features come in multiples of this, which vector units like."""


class Efficientnet(Network):
    """Stages of mobile inverted bottlenecks with squeeze and excitation.

    After Tan & Le 2019 (ICML 97, 6105, table 1), whose network has 16 such blocks and halves the grid five
    times; this one has 10, and a stem that folds. `width` and `depth` are their two multipliers (equation 3); the
    third, the resolution, is the stamps'.

    Parameters
    ----------
    channels : int
        Input channels.
    width : float
        Multiplier of the features of every stage, which are rounded to multiples of 8.
    depth : float
        Multiplier of the blocks of every stage, rounded up.
    dropout : float
        Share of hidden features dropped in training.
    """

    def __init__(self, channels: int, width: float = 1.0, depth: float = 1.0, dropout: float = 0.2) -> None:
        super().__init__()
        features = _rounded(24 * width)
        self.stem = Stem(channels, features)
        blocks: list[nn.Module] = []
        for stage in _STAGES:
            outputs = _rounded(stage.features * width)
            for block in range(math.ceil(stage.blocks * depth)):
                stride = stage.stride if block == 0 else 1
                blocks.append(_MBConv(features, outputs, stage.expansion, stage.kernel, stride))
                features = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = Head(features, 64, dropout)

    def encode(self, x: Tensor) -> Tensor:
        """Map (n, channels, y, x), y and x even, to a feature map (n, features, y/16, x/16)."""
        features: Tensor = self.blocks(self.stem(x))
        return features


class _MBConv(nn.Module):
    """Expand, convolve each channel by itself, weigh, and project back (Sandler et al. 2018, CVPR, 4510)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        middle = inputs * expansion
        widen = [convolution(inputs, middle, 1), nn.BatchNorm2d(middle), nn.SiLU(inplace=True)]
        self.expand = nn.Sequential(*widen) if expansion > 1 else nn.Identity()
        self.depthwise = nn.Sequential(
            nn.Conv2d(middle, middle, kernel, stride, kernel // 2, groups=middle, bias=False),
            nn.BatchNorm2d(middle),
            nn.SiLU(inplace=True),
        )
        self.squeeze = nn.Linear(middle, max(inputs // _SQUEEZE, _MULTIPLE))
        self.excite = nn.Linear(max(inputs // _SQUEEZE, _MULTIPLE), middle)
        self.project = nn.Sequential(convolution(middle, outputs, 1), nn.BatchNorm2d(outputs))
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        middle = self.depthwise(self.expand(x))
        weights = torch.sigmoid(self.excite(nn.functional.silu(self.squeeze(middle.mean((-2, -1))))))
        answer: Tensor = self.project(middle * weights[..., None, None])
        return answer + x if self.residual else answer


def _rounded(features: float) -> int:
    return max(_MULTIPLE, round(features / _MULTIPLE) * _MULTIPLE)
