"""PSFs of any kind as transfer functions on the fine grid: Moffat profiles, measured images, PSFEx models.

A measured PSF and a PSFEx model are the *effective* PSF, the optical one averaged over a pixel. Rendering averages
over pixels itself, so that their transfer functions are divided by that of a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pipeline.sims.render.image import Psf, transfer
from pipeline.sims.render.light import Float32, Float64, Grid

Complex64 = npt.NDArray[np.complex64]

_LEAST_PIXEL = 0.2
"""A pixel's transfer function counts as at least this: in the corners of the Nyquist square there is no light."""
_FINER = 8
"""How much finer than its samples a PSF is interpolated to measure its width."""


@dataclass(frozen=True)
class ImagePsf:
    """Effective PSFs as images, one a band.

    Attributes
    ----------
    images : float32 (band, k, k), each of sum 1
        The centre is at (k - 1) / 2.
    step : arcsec
        Between samples.
    fwhm : float64 (band,), arcsec
        For the record and for selections; rendering reads the images.
    """

    images: Float32
    step: float
    fwhm: Float64


AnyPsf = Psf | ImagePsf


def transfers(psfs: Sequence[AnyPsf], grids: Sequence[Grid]) -> torch.Tensor:
    """Fourier transforms of PSFs, complex64 (n, band, fine, fine // 2 + 1), for `render.image.convolved`.

    Parameters
    ----------
    psfs, grids : sequences of n
        PSFs of one number of bands, grids of one number of fine pixels.
    """
    return torch.cat(
        [
            transfer([psf], [grid]) if isinstance(psf, Psf) else torch.from_numpy(image_transfer(psf, grid))[None]
            for psf, grid in zip(psfs, grids, strict=True)
        ]
    )


def image_transfer(psf: ImagePsf, grid: Grid) -> Complex64:
    """The optical transfer functions of effective PSFs on a fine grid.

    The discrete-time Fourier transform of the samples at the grid's frequencies; beyond the samples' own Nyquist
    frequency there is no light. Divided by the sinc-like response of a pixel of `grid.oversampling` fine ones.

    Returns
    -------
    complex64 (band, fine, fine // 2 + 1)
        1 at frequency zero for images of sum 1.
    """
    size = psf.images.shape[-1]
    offset = (np.arange(size) - (size - 1) / 2) * psf.step
    rows, columns = (
        np.asarray(axis, np.float64)
        for axis in (np.fft.fftfreq(grid.fine, grid.step), np.fft.rfftfreq(grid.fine, grid.step))
    )
    waves_y = np.exp(-2j * np.pi * rows[:, None] * offset[None, :]).astype(np.complex64)
    waves_x = np.exp(-2j * np.pi * offset[:, None] * columns[None, :]).astype(np.complex64)
    nyquist = 0.5 / psf.step
    waves_y[np.abs(rows) > nyquist] = 0
    waves_x[:, columns > nyquist] = 0
    pixel = _pixel_response(rows, grid)[:, None] * _pixel_response(columns, grid)[None, :]
    answer: Complex64 = ((waves_y @ psf.images @ waves_x) / np.maximum(pixel, _LEAST_PIXEL)).astype(np.complex64)
    return answer


def _pixel_response(frequency: Float64, grid: Grid) -> Float64:
    """Transfer function of the sum over a pixel's fine pixels along one axis; frequencies in 1 / arcsec."""
    k = grid.oversampling
    phase = np.pi * frequency * grid.step
    small = np.abs(np.sin(phase)) < 1e-9
    return np.where(small, 1.0, np.sin(k * phase) / np.where(small, 1.0, k * np.sin(phase)))


def width(image: Float32, step: float) -> float:
    """FWHM of a PSF in arcsec: the diameter of a circle of the area that is above half the peak.

    The image, (k, k) with its centre at (k - 1) / 2, is interpolated band-limited to an eighth of its step.
    """
    size = image.shape[0]
    spectrum = np.fft.fftshift(np.fft.fft2(image))
    pad = size * (_FINER - 1) // 2
    wide = np.pad(spectrum, ((pad, size * (_FINER - 1) - pad), (pad, size * (_FINER - 1) - pad)))
    fine = np.abs(np.fft.ifft2(np.fft.ifftshift(wide)))
    area = float((fine > fine.max() / 2).sum()) * (step / _FINER) ** 2
    return float(2 * np.sqrt(area / np.pi))


def image_psf(images: npt.NDArray[np.floating], step: float) -> ImagePsf:
    """A PSF of images (band, k, k) sampled every `step` arcsec, brought to sum 1, with their widths.

    Raises
    ------
    ValueError
        If an image is not finite or has no positive sum.
    """
    sums = images.sum(axis=(1, 2), keepdims=True)
    if not np.isfinite(images).all() or not (sums > 0).all():
        raise ValueError("a PSF's image must be finite and of positive sum")
    scaled = (images / sums).astype(np.float32)
    return ImagePsf(scaled, step, np.array([width(image, step) for image in scaled]))
