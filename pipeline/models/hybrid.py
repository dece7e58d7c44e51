"""A residual network's feature map, read by a transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.models.layers import Network, Stem
from pipeline.models.resnet import stages_of
from pipeline.models.transformer import Block, TokenHead, tokens_of


class Hybrid(Network):
    """The first three stages of a ResNet-18, whose cells are a vision transformer's tokens.

    The hybrid of Dosovitskiy et al. 2021 (ICLR, section 3.1): convolutions see an arc, attention compares it with its
    counter-image. Unlike `attention` it has residual blocks, and a class token of its own.

    Parameters
    ----------
    channels : int
        Input channels.
    width : int
        Features of the first of the three stages, doubled in each next one.
    blocks : int
        Blocks of two convolutions in each stage.
    layers : int
        Encoder layers, on tokens of 4 `width` features.
    heads : int
        Attention heads of each; 4 `width` is a multiple of them.
    dropout : float
        Share of the embedding dropped in training.

    Raises
    ------
    ConfigError
        For a width that is no such multiple.
    """

    def __init__(
        self, channels: int, width: int = 24, blocks: int = 2, layers: int = 2, heads: int = 4, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.stem = Stem(channels, width)
        self.stages = stages_of(width, blocks, 3)
        features = 4 * width
        self.token = nn.Parameter(torch.zeros(1, 1, features))
        self.layers = nn.Sequential(*(Block(features, heads, 2 * features) for _ in range(layers)))
        self.head = TokenHead(features, dropout)

    def encode(self, x: Tensor) -> Tensor:
        """Map (n, channels, y, x), y and x even, to the class token (n, 4 width)."""
        tokens = tokens_of(self.stages(self.stem(x)))
        token = self.token.to(tokens.dtype).expand(len(tokens), -1, -1)
        answer: Tensor = self.layers(torch.cat([token, tokens], dim=1))
        return answer[:, 0]
