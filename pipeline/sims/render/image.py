"""From light to an image: Moffat PSFs by Fourier transform, and their convolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from pipeline.sims.render.light import Float32, Float64, Grid, Light, draw


@dataclass(frozen=True)
class Psf:
    """Moffat PSFs, one a band: fwhm (arcsec), beta, and an ellipticity (e1, e2) common to the bands."""

    fwhm: Float64
    beta: float
    e1: float = 0.0
    e2: float = 0.0


@contextmanager
def single_thread() -> Iterator[None]:
    """Torch without gradients on one thread, as before afterwards.

    Batches are small, so that threads lose more than they gain, many times over on a busy machine; and sums don't
    depend on their number.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)


def moffat(psf: Psf, grid: Grid) -> Float32:
    """The PSF of each band on the fine grid, centred on pixel (0, 0) with wrap-around, of sum 1.

    alpha = fwhm / (2 sqrt(2^(1/beta) - 1)); Moffat (1969).

    Returns
    -------
    float32 (band, fine, fine)
    """
    half = np.fft.fftfreq(grid.fine, 1 / grid.fine).astype(np.float32) * np.float32(grid.step)
    x, y = half[None, :], half[:, None]
    squared = (1 - psf.e1) * x * x + (1 + psf.e1) * y * y - 2 * psf.e2 * x * y
    alpha = psf.fwhm / (2 * np.sqrt(2 ** (1 / psf.beta) - 1))
    kernels = np.empty((len(alpha), grid.fine, grid.fine), np.float32)
    for band, value in enumerate(alpha):
        np.exp(np.float32(-psf.beta) * np.log(1 + squared * np.float32(value**-2)), out=kernels[band])
    kernels /= kernels.sum(axis=(1, 2), keepdims=True)
    return kernels


def transfer(psfs: Sequence[Psf], grids: Sequence[Grid]) -> torch.Tensor:
    """Fourier transforms of PSFs, complex64 (n, band, fine, fine // 2 + 1)."""
    kernels = np.stack([moffat(psf, grid) for psf, grid in zip(psfs, grids, strict=True)])
    transformed: torch.Tensor = torch.fft.rfft2(torch.from_numpy(kernels))
    return transformed


def convolved(fine: Float32, transfers: torch.Tensor, grid: Grid) -> Float32:
    """Convolve with the PSFs and average to the stamps' pixels, as `blurred` does, from array to array.

    Parameters
    ----------
    fine : float32 (n, band, fine, fine)
    transfers : complex64, from `transfer`
    grid : Grid
        Any of the batch's; only its numbers of pixels count.

    Returns
    -------
    float32 (n, band, size, size), nJy a pixel
    """
    return np.ascontiguousarray(blurred(torch.from_numpy(fine), transfers, grid).numpy())


def blurred(fine: torch.Tensor, transfers: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Convolve with PSFs and average to the stamps' pixels; differentiable.

    Parameters
    ----------
    fine : float32 or float64 (..., fine, fine)
    transfers : complex64, from `transfer`
        Broadcast against `fine`.
    grid : Grid

    Returns
    -------
    (..., size, size), of `fine`'s type; light that leaves the margin on one side comes back on the other
    """
    spectrum = torch.fft.rfft2(fine) * _pixel_response(grid.fine, grid.oversampling)
    summed = _every(spectrum * transfers, grid.fine, grid.oversampling)
    side = grid.fine // grid.oversampling
    stamps: torch.Tensor = torch.fft.irfft2(summed, s=(side, side))
    inside = slice(grid.margin, grid.margin + grid.size)
    return stamps[..., inside, inside]


@lru_cache(maxsize=8)
def _pixel_response(fine: int, oversampling: int) -> torch.Tensor:
    """Transform of the mean of a fine pixel and the following ones of its pixel, complex64 (fine, fine // 2 + 1)."""
    steps = np.arange(oversampling)

    def along(frequencies: npt.NDArray[np.floating]) -> npt.NDArray[np.complex128]:
        response: npt.NDArray[np.complex128] = np.exp(2j * np.pi * np.outer(frequencies, steps)).mean(axis=1)
        return response

    response = np.outer(along(np.fft.fftfreq(fine)), along(np.fft.rfftfreq(fine)))
    # A tensor of inference mode, kept for later calls, could not be part of a gradient.
    with torch.inference_mode(False):
        return torch.from_numpy(response.astype(np.complex64))


def _every(spectrum: torch.Tensor, fine: int, step: int) -> torch.Tensor:
    """Half the transform of every `step`-th pixel along both axes, times step^2, from half of that of all pixels.

    Leaving out pixels folds the frequencies onto one another, so that the inverse transform is of few pixels only,
    several times faster than one of all of them whose most are then summed away.
    """
    if step == 1:
        return spectrum
    side, half = fine // step, fine // step // 2 + 1
    rows = spectrum[..., :side, :]
    for part in range(1, step):
        rows = rows + spectrum[..., part * side : (part + 1) * side, :]
    folded = rows[..., :half].clone()
    for part in range(1, step):
        first = part * side
        own = min(half, max(0, fine // 2 + 1 - first))
        folded[..., :own] += rows[..., first : first + own]
        # Frequencies above half, which a real image's transform leaves out, are conjugates of those at minus both.
        others = rows[..., fine - first - half + 1 : fine - first - own + 1].flip(-1).conj()
        folded[..., :1, own:] += others[..., :1, :]
        folded[..., 1:, own:] += others[..., 1:, :].flip(-2)
    return folded


def render(
    lights: Sequence[Light], grids: Sequence[Grid], transfers: torch.Tensor, bands: int, faintest: Float64
) -> Float32:
    """Noiseless stamps of unlensed light, float32 (n, bands, size, size), nJy; `faintest` as in `light.draw`."""
    fine = np.stack(
        [draw(light, grid, bands, float(limit)) for light, grid, limit in zip(lights, grids, faintest, strict=True)]
    )
    return convolved(fine, transfers, grids[0])
