"""From latent numbers to a picture."""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.models.layers import convolution


class Decoder(nn.Module):
    """Latent numbers (n, latent) to a picture (n, drawn, size, size).

    Without normalisation over the batch: a stamp's picture is a function of its own latent numbers, in training too.

    Parameters
    ----------
    latent, width : int
        Latent dimensions, and features on half of the finest grid.
    drawn : int
        Channels of the picture.
    size : int
        Its side in pixels, a multiple of 8.
    """

    def __init__(self, latent: int, width: int, drawn: int, size: int) -> None:
        super().__init__()
        self.size = size
        coarse = size // 8
        self.start = nn.Linear(latent, 4 * width * coarse**2)
        self.unfold = nn.Unflatten(1, (4 * width, coarse, coarse))
        self.grow = nn.Sequential(*_grown(4 * width, 2 * width), *_grown(2 * width, width))
        # The last doubling unfolds channels into pixels: a convolution at the finest grid costs four times this.
        self.finish = nn.Sequential(nn.Conv2d(width, 4 * drawn, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, z: Tensor) -> Tensor:
        """Map (n, latent) to float32 (n, drawn, size, size)."""
        picture: Tensor = self.finish(self.grow(self.unfold(self.start(z))))
        return picture.float()


def _grown(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Upsample(scale_factor=2), convolution(inputs, outputs), nn.LeakyReLU(0.1, inplace=True)
