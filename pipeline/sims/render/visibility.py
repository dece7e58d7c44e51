"""How visible an arc is: its S/N, and the part of it that stands out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.sims.render.light import Float32, Float64


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
