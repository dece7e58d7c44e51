"""From light to an image: lensing, Moffat PSFs by Fourier transform, and arc S/N."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from pipeline.sims.light import Float32, Float64, Grid, Light, Sersic, draw, sersic_b, sersic_peak
from pipeline.sims.mass import Deflector, deflection
from pipeline.sims.source_images import PlacedGalaxy, image_brightness


@dataclass(frozen=True)
class LensedSource:
    """Source-plane light of one colour behind a deflector; positions in arcsec from the stamp's centre.

    The components' `flux` has one element, their share of the source's light; so is that of `images`.
    """

    deflector: Deflector
    components: tuple[Sersic, ...] = ()
    images: tuple[PlacedGalaxy, ...] = ()


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


def lensed(sources: Sequence[LensedSource], grids: Sequence[Grid]) -> Float32:
    """Ray-trace sources through their deflectors, all stamps at once.

    Surface brightness is conserved: the value at an image-plane pixel is the source's at the deflected position.

    Parameters
    ----------
    sources, grids : sequences of n
        Grids of one number of fine pixels; their scales may differ.

    Returns
    -------
    float32 (n, fine, fine), flux a fine pixel, before the PSF
    """
    fine = grids[0].fine if grids else 0
    image = torch.zeros((len(sources), fine, fine))
    if not sources:
        return image.numpy()
    axis = torch.from_numpy(np.stack([grid.axis() for grid in grids]))
    x, y = axis[:, None, :], axis[:, :, None]
    ax, ay = deflection([source.deflector for source in sources], x, y)
    beta_x, beta_y = x - ax, y - ay
    for rank in range(max(len(source.components) for source in sources)):
        chosen = [index for index, source in enumerate(sources) if len(source.components) > rank]
        components = [sources[index].components[rank] for index in chosen]
        flux = [c.flux[0] * grids[index].step ** 2 for c, index in zip(components, chosen, strict=True)]
        scale = torch.tensor(flux, dtype=torch.float32)[:, None, None]
        if len(chosen) == len(sources):
            image += scale * _source_brightness(components, beta_x, beta_y)
        else:
            image[chosen] += scale * _source_brightness(components, beta_x[chosen], beta_y[chosen])
    for rank in range(max(len(source.images) for source in sources)):
        chosen = [index for index, source in enumerate(sources) if len(source.images) > rank]
        placed = [sources[index].images[rank] for index in chosen]
        areas = torch.tensor([grids[index].step ** 2 for index in chosen])[:, None, None]
        image[chosen] += areas * image_brightness(placed, beta_x[chosen], beta_y[chosen])
    return image.numpy()


def _source_brightness(components: Sequence[Sersic], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    rows = [
        (c.x, c.y, c.radius, 1 / c.n, c.q, np.cos(c.angle), np.sin(c.angle), sersic_b(c.n), sersic_peak(c.n, c.radius))
        for c in components
    ]
    columns = torch.from_numpy(np.array(rows, np.float32))[:, :, None, None]
    x0, y0, radius, power, q, cosine, sine, b, peak = columns.unbind(1)
    dx, dy = x - x0, y - y0
    u, v = dx * cosine + dy * sine, dy * cosine - dx * sine
    squared = (q * u * u + v * v / q) / radius**2
    return peak * torch.exp(-b * torch.exp(torch.log(squared.clamp_min(1e-12)) * (0.5 * power)))


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
    """Convolve with the PSFs and average to the stamps' pixels.

    Parameters
    ----------
    fine : float32 (n, band, fine, fine)
    transfers : complex64, from `transfer`
    grid : Grid
        Any of the batch's; only its numbers of pixels count.

    Returns
    -------
    float32 (n, band, size, size), nJy a pixel; light that leaves the margin on one side comes back on the other
    """
    spectrum = torch.fft.rfft2(torch.from_numpy(fine)) * _pixel_response(grid.fine, grid.oversampling)
    summed = _every(spectrum * transfers, grid.fine, grid.oversampling)
    side = grid.fine // grid.oversampling
    stamps = torch.fft.irfft2(summed, s=(side, side)).numpy()
    inside = slice(grid.margin, grid.margin + grid.size)
    return np.ascontiguousarray(stamps[..., inside, inside])


@lru_cache(maxsize=8)
def _pixel_response(fine: int, oversampling: int) -> torch.Tensor:
    """Transform of the mean of a fine pixel and the following ones of its pixel, complex64 (fine, fine // 2 + 1)."""
    steps = np.arange(oversampling)

    def along(frequencies: npt.NDArray[np.floating]) -> npt.NDArray[np.complex128]:
        response: npt.NDArray[np.complex128] = np.exp(2j * np.pi * np.outer(frequencies, steps)).mean(axis=1)
        return response

    response = np.outer(along(np.fft.fftfreq(fine)), along(np.fft.rfftfreq(fine)))
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


def arc_snr(arc: npt.NDArray[np.floating], sigma: npt.NDArray[np.floating]) -> Float64:
    """S/N of a lensed source by a perfect template: sqrt(sum(arc^2 / sigma^2)).

    Parameters
    ----------
    arc : (..., y, x), nJy, without noise
    sigma : (...), nJy
        Sky noise of a pixel.

    Returns
    -------
    float64 (...)
    """
    power = np.square(np.asarray(arc, np.float64)).sum(axis=(-2, -1))
    return np.asarray(np.sqrt(power) / np.asarray(sigma, np.float64))


def visible_share(
    arc: npt.NDArray[np.floating], other: npt.NDArray[np.floating], sigma: float, above_sigma: float, contrast: float
) -> float:
    """Share of an arc's flux in pixels where it is above `above_sigma` sigma and `contrast` times other light.

    Shapes (y, x); 0 for an arc without flux.
    """
    total = float(arc.sum(dtype=np.float64))
    clear = (arc > above_sigma * sigma) & (arc > contrast * other)
    return float(arc[clear].sum(dtype=np.float64)) / total if total > 0 else 0.0


@dataclass(frozen=True)
class ScaledArc:
    """A lensed source brought to a wanted S/N.

    Attributes
    ----------
    arc : float32 (band, y, x), nJy
    share : float
        Its visible share (`visible_share`) in its best band.
    source_mag : float
        r magnitude of the source before lensing.
    """

    arc: Float32
    share: float
    source_mag: float


def scale_arc(
    unit: Float32, scene: Float32, colour: Float64, sigma: Float64, snr: float, above_sigma: float, contrast: float
) -> ScaledArc:
    """Give a source the flux with which its arc has a S/N in the band where that is largest.

    Parameters
    ----------
    unit : float32 (band, y, x)
        The arc of a source of flux 1 in every band, after the PSF.
    scene : float32 (band, y, x), nJy
        All other light.
    colour : float64 (band,)
        The source's flux over that in r.
    sigma : float64 (band,), nJy
    snr : float
    above_sigma, contrast : float
        As in `visible_share`.
    """
    coloured = unit * colour[:, None, None].astype(np.float32)
    reached = arc_snr(coloured, sigma)
    best = int(np.argmax(reached))
    flux = snr / float(reached[best])
    arc = coloured * np.float32(flux)
    share = visible_share(arc[best], scene[best], float(sigma[best]), above_sigma, contrast)
    return ScaledArc(arc, share, float(31.4 - 2.5 * np.log10(flux)))
