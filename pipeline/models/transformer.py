"""Self-attention over the cells of a grid: what the vision transformers share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.models.layers import Classifier

_LONGEST = 10_000.0
"""The longest wavelength of the positions is this many times 2 pi cells."""


class Block(nn.Module):
    """Self-attention and a layer of two linear maps, each normalised before and added to what came in.

    The encoder layer of Vaswani et al. 2017 (NIPS 30, 5998) in the order of Dosovitskiy et al. 2021 (ICLR,
    equations 2 and 3).

    Parameters
    ----------
    width : int
        Features of a token; a multiple of `heads`.
    heads : int
        Attention heads.
    hidden : int
        Features between the two linear maps.

    Raises
    ------
    ConfigError
        For a width that heads or positions can't share out.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        if width % heads or width % 4:
            raise ConfigError(f"a transformer's width must be a multiple of 4 and of heads = {heads}, not {width}.")
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.before_hidden = nn.LayerNorm(width)
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (n, tokens, width) to the same shape."""
        n, count, width = tokens.shape
        parts = self.query_key_value(self.before_attention(tokens))
        query, key, value = parts.view(n, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.merge(seen.transpose(1, 2).reshape(n, count, width))
        answer: Tensor = tokens + self.hidden(self.before_hidden(tokens))
        return answer


class TokenHead(Classifier):
    """The class token, normalised, as the embedding; from it a logit."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.length = width
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, 1)

    def embed(self, x: Tensor) -> Tensor:
        """Map the class token (n, width) to float32 (n, width)."""
        normed: Tensor = self.norm(x)
        return normed.float()

    def classify(self, embedding: Tensor) -> Tensor:
        """Map (n, width) to float32 logits (n,)."""
        logits: Tensor = self.out(self.dropout(embedding))
        return logits[:, 0].float()


def positions(height: int, width: int, features: int, like: Tensor) -> Tensor:
    """Where each cell of a grid stands, seen from the centre, as sines and cosines.

    A quarter of the features each for sine and cosine of y and of x, at wavelengths in geometric progression
    (Vaswani et al. 2017, section 3.5, for each axis, as in Carion et al. 2020, ECCV, appendix A.4). Nothing is
    learned, so the same network takes a grid of another size; the centre of every grid, where the deflector is,
    is the origin.

    Parameters
    ----------
    height, width : int
        Cells.
    features : int
        A multiple of 4.
    like : Tensor
        Whose device and dtype the answer gets.

    Returns
    -------
    (height * width, features)
        Row by row.
    """
    rates = _LONGEST ** (-torch.arange(features // 4, device=like.device, dtype=torch.float32) / (features // 4))
    y = (torch.arange(height, device=like.device) - (height - 1) / 2)[:, None] * rates
    x = (torch.arange(width, device=like.device) - (width - 1) / 2)[:, None] * rates
    rows = torch.cat([y.sin(), y.cos()], dim=1)[:, None, :].expand(height, width, -1)
    columns = torch.cat([x.sin(), x.cos()], dim=1)[None, :, :].expand(height, width, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1).to(like.dtype)


def tokens_of(x: Tensor) -> Tensor:
    """A feature map as tokens, row by row, with their positions added.

    Features weigh sqrt(features) times as much as positions (Vaswani et al. 2017, section 3.4): where they weigh
    the same, the positions drown the features, and training stands still at first.

    Parameters
    ----------
    x : (n, features, y, x)

    Returns
    -------
    (n, y x, features)
    """
    height, width = x.shape[-2:]
    tokens = x.flatten(2).transpose(1, 2)
    return tokens + positions(height, width, x.shape[1], tokens) / math.sqrt(x.shape[1])
