"""A generator of stamps and its critic; no classifier, so not among `ARCHITECTURES`."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from pipeline.errors import ConfigError
from pipeline.models.layers import convolution


class Gan(nn.Module):
    """A generator and a critic, which are trained against each other.

    Parameters
    ----------
    channels : int
        Of the stamps, as a package's normalisation makes them.
    size : int
        Side of the stamps, a multiple of 16.
    latent : int
        Random numbers that a stamp is made of.
    width : int
        Features at the finest grid; twice and four times as many at the coarser ones.

    Raises
    ------
    ConfigError
        For another size.
    """

    def __init__(self, channels: int, size: int, latent: int = 64, width: int = 16) -> None:
        super().__init__()
        if size % 16:
            raise ConfigError(f"the generator makes stamps of a multiple of 16 pixels, not {size}.")
        self.latent = latent
        self.generator = Generator(channels, size, latent, width)
        self.critic = Critic(channels, size, width)


class Generator(nn.Module):
    """Random numbers (n, latent) to stamps (n, channels, size, size)."""

    def __init__(self, channels: int, size: int, latent: int, width: int) -> None:
        super().__init__()
        coarse = size // 16
        self.start = nn.Linear(latent, 4 * width * coarse**2)
        self.unfold = nn.Unflatten(1, (4 * width, coarse, coarse))
        self.grow = nn.Sequential(
            *(_grown(inputs, outputs) for inputs, outputs in ((4 * width, 4 * width), (4 * width, 2 * width))),
            _grown(2 * width, width),
        )
        # The last doubling unfolds channels into pixels: a convolution at the finest grid costs four times this.
        self.finish = nn.Sequential(nn.Conv2d(width, 4 * channels, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, z: Tensor) -> Tensor:
        """Map (n, latent) to (n, channels, size, size)."""
        stamps: Tensor = self.finish(self.grow(self.unfold(self.start(z))))
        return stamps


class Critic(nn.Module):
    """Stamps (n, channels, size, size) to how real each looks (n,); no batch normalisation.

    The gradient penalty is a stamp's own, and normalisation over a batch would mix stamps (Gulrajani et al. 2017).
    """

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        widths = (4 * channels, width, 2 * width, 4 * width)
        self.fold = nn.PixelUnshuffle(2)
        self.shrink = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.LeakyReLU(0.2))
                for inputs, outputs in pairwise(widths)
            )
        )
        self.out = nn.Linear(4 * width * (size // 16) ** 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n, channels, size, size) to (n,)."""
        answer: Tensor = self.out(self.shrink(self.fold(x)).flatten(1))
        return answer[:, 0]


def _grown(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Upsample(scale_factor=2), convolution(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )
