"""A compact EfficientNetV2: fused bottlenecks on the fine grids, squeezed and excited ones on the coarsest."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pipeline.models.layers import Head, Network, Stem, convolution


class _Stage(NamedTuple):
    fused: bool
    expansion: int
    features: int
    blocks: int
    stride: int


_STAGES = (
    _Stage(True, 1, 16, 1, 1),
    _Stage(True, 4, 32, 2, 2),
    _Stage(True, 4, 48, 2, 2),
    _Stage(False, 4, 96, 3, 2),
    _Stage(False, 4, 112, 2, 1),
)
"""The first five of EfficientNetV2-S with two thirds of its features, fewer blocks, and an expansion of 4 at most."""

_SQUEEZE = 4
"""The layer between squeeze and excitation has a block's input features over this."""

_MULTIPLE = 8
"""Features come in multiples of this, which vector units like."""


class Efficientnet(Network):
    """Stages of inverted bottlenecks, fused first and with squeeze and excitation later.

    After Tan & Le 2021 (ICML, PMLR 139, 10096, table 4), whose smallest network has 40 such blocks and halves the
    grid five times; this one has 10, and a stem that folds. `width` and `depth` are the multipliers of Tan & Le 2019
    (ICML, PMLR 97, 6105, equation 3); the third, the resolution, is the stamps'.

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

    Notes
    -----
    Every block that halves the grid is fused, also that which opens the fourth stage: on CPUs with bfloat16 the
    gradient of a depthwise convolution with a stride takes 2 to 23 times as long as in float32, and that of one without
    as long (PyTorch 2.13, 64 features on 32 x 32 px and 192 on 8 x 8, batches of 128, one thread).
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
                if stage.fused or stride > 1:
                    blocks.append(_FusedMBConv(features, outputs, stage.expansion, stride))
                else:
                    blocks.append(_MBConv(features, outputs, stage.expansion))
                features = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = Head(features, 64, dropout)

    def encode(self, x: Tensor) -> Tensor:
        """Map (n, channels, y, x), y and x even, to a feature map (n, features, y/16, x/16)."""
        features: Tensor = self.blocks(self.stem(x))
        return features


class _FusedMBConv(nn.Module):
    """Expand with a full 3 x 3 convolution and project back (Tan & Le 2021, figure 2)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        middle = inputs * expansion if expansion > 1 else outputs
        self.expand = nn.Sequential(
            convolution(inputs, middle, 3, stride), nn.BatchNorm2d(middle), nn.SiLU(inplace=True)
        )
        self.project = (
            nn.Sequential(convolution(middle, outputs, 1), nn.BatchNorm2d(outputs)) if expansion > 1 else nn.Identity()
        )
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.project(self.expand(x))
        return answer + x if self.residual else answer


class _MBConv(nn.Module):
    """Expand, convolve each channel by itself, weigh, and project back (Sandler et al. 2018, CVPR, 4510)."""

    def __init__(self, inputs: int, outputs: int, expansion: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.expand = nn.Sequential(convolution(inputs, middle, 1), nn.BatchNorm2d(middle), nn.SiLU(inplace=True))
        self.depthwise = nn.Sequential(
            nn.Conv2d(middle, middle, 3, padding=1, groups=middle, bias=False),
            nn.BatchNorm2d(middle),
            nn.SiLU(inplace=True),
        )
        self.squeeze = nn.Linear(middle, max(inputs // _SQUEEZE, _MULTIPLE))
        self.excite = nn.Linear(max(inputs // _SQUEEZE, _MULTIPLE), middle)
        self.project = nn.Sequential(convolution(middle, outputs, 1), nn.BatchNorm2d(outputs))
        self.residual = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        middle = self.depthwise(self.expand(x))
        weights = torch.sigmoid(self.excite(nn.functional.silu(self.squeeze(middle.mean((-2, -1))))))
        answer: Tensor = self.project(middle * weights[..., None, None])
        return answer + x if self.residual else answer


def _rounded(features: float) -> int:
    return max(_MULTIPLE, round(features / _MULTIPLE) * _MULTIPLE)
