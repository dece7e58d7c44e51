"""A small vision transformer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models.layers import Network, Stem, convolution
from pipeline.models.transformer import Block, TokenHead, tokens_of

_HALVINGS = {4: 1, 8: 2, 16: 3}
"""How often the grid is halved after the stem, by patch."""


class Vit(Network):
    """Patches as tokens, a token of its own for the class, and encoder layers of self-attention.

    The network of Dosovitskiy et al. 2021 (ICLR, figure 1) at a hundredth of its size, with convolutions instead
    of one linear map a patch (Xiao et al. 2021, NeurIPS 34, 30392: they train more easily) and positions that are
    computed, so that stamps may have any size that is a multiple of the patch.

    Parameters
    ----------
    channels : int
        Input channels.
    patch : int
        Side of a patch in pixels: 4, 8 or 16.
    width : int
        Features of a token, a multiple of 4 and of `heads`.
    layers : int
        Encoder layers.
    heads : int
        Attention heads of each.
    dropout : float
        Share of the embedding dropped in training.

    Raises
    ------
    ConfigError
        For another patch, or a width that is no such multiple.
    """

    def __init__(
        self, channels: int, patch: int = 8, width: int = 96, layers: int = 6, heads: int = 3, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if patch not in _HALVINGS:
            raise ConfigError(f"architecture 'vit' takes a patch of {', '.join(map(str, _HALVINGS))} px, not {patch}.")
        self.patch = patch
        first = width // 2 ** _HALVINGS[patch]
        self.stem = Stem(channels, first)
        steps: list[nn.Module] = []
        for halving in range(_HALVINGS[patch]):
            inputs, outputs = first * 2**halving, first * 2 ** (halving + 1)
            steps += [convolution(inputs, outputs, 3, stride=2), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        self.patches = nn.Sequential(*steps, nn.Conv2d(first * 2 ** _HALVINGS[patch], width, 1))
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.layers = nn.Sequential(*(Block(width, heads, 4 * width) for _ in range(layers)))
        self.head = TokenHead(width, dropout)

    def encode(self, x: Tensor) -> Tensor:
        """Map (n, channels, y, x), y and x multiples of the patch, to the class token (n, width).

        Raises
        ------
        ModelMismatch
            For another size.
        """
        height, width = x.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ModelMismatch(
                f"vit: stamps of {height} x {width} px don't divide into patches of {self.patch}; "
                f"set size_pix to a multiple of {self.patch}, or another patch."
            )
        tokens = tokens_of(self.patches(self.stem(x)))
        token = self.token.to(tokens.dtype).expand(len(tokens), -1, -1)
        answer: Tensor = self.layers(torch.cat([token, tokens], dim=1))
        return answer[:, 0]
