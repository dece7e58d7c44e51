"""A convolutional stem whose feature map attends to itself."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from pipeline.models.layers import Head, Network, Stem, convolution
from pipeline.models.transformer import Block, tokens_of


class Attention(Network):
    """Convolutions down to an eighth of the grid, then encoder layers of self-attention over its cells.

    After the lens-finding encoders of Thuruthipilly et al. 2022 (A&A 664, A4, figure 3), themselves after the
    detection transformer: a few convolutions see what is near, attention compares what is far apart, such as an
    arc and its counter-image.

    Parameters
    ----------
    channels : int
        Input channels.
    width : int
        Features of a cell, a multiple of 4 and of `heads`; the convolutions before have a quarter and a half.
    layers : int
        Encoder layers.
    heads : int
        Attention heads of each.
    dropout : float
        Share of hidden features dropped in training.

    Raises
    ------
    ConfigError
        For a width that is no such multiple.
    """

    def __init__(self, channels: int, width: int = 128, layers: int = 4, heads: int = 4, dropout: float = 0.2) -> None:
        super().__init__()
        self.stem = Stem(channels, width // 4)
        steps: list[nn.Module] = []
        for inputs, outputs in pairwise((width // 4, width // 2, width)):
            steps += [convolution(inputs, outputs, 3, stride=2), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.convolutions = nn.Sequential(*steps)
        self.layers = nn.Sequential(*(Block(width, heads, 2 * width) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = Head(width, 64, dropout)

    def encode(self, x: Tensor) -> Tensor:
        """Map (n, channels, y, x), y and x even, to a feature map (n, width, y/8, x/8)."""
        near = self.convolutions(self.stem(x))
        far: Tensor = self.norm(self.layers(tokens_of(near)))
        return far.transpose(1, 2).reshape(near.shape)
