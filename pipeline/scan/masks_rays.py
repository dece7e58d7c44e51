"""Cosmic rays: bright in one band alone, and sharper than anything that came through the telescope."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

RAY_MARGIN = 3
"""Rows beyond a pixel that its answer depends on."""

_OTHER_BANDS = 0.25
_FAINT = 3.0


def find_cosmic_rays(excess: Float32, noise: Float32, significance: float, contrast: float) -> Bool:
    """Pixels hit by a cosmic ray.

    A hit stands `contrast` times above the mean of its two neighbours along x or along y; through a PSF of
    FWHM 2 pixels nothing stands more than 2 times above both. Where there are several bands, none of the
    others may show a quarter of the hit's signal to noise within one pixel. Neighbours of a hit that are
    3 sigma above the background and no other band's belong to it.

    Parameters
    ----------
    excess, noise : float32 (band, y, x), nJy
        Background-subtracted image, NaN for no data, and the noise of a pixel.
    significance : float
        Smallest signal to noise of a hit.
    contrast : float

    Returns
    -------
    bool (band, y, x)
    """
    with np.errstate(invalid="ignore"):
        signal = excess / noise
    signal[~np.isfinite(signal)] = 0.0
    hits = np.zeros(signal.shape, bool)
    for band in range(signal.shape[0]):
        y, x = np.nonzero(signal[band] > significance)
        inside = (y > 0) & (x > 0) & (y < signal.shape[1] - 1) & (x < signal.shape[2] - 1)
        y, x = y[inside], x[inside]
        here = signal[band][y, x]
        across = 0.5 * np.maximum(signal[band][y, x - 1] + signal[band][y, x + 1], 0.0)
        along = 0.5 * np.maximum(signal[band][y - 1, x] + signal[band][y + 1, x], 0.0)
        sharp = here > contrast * np.minimum(across, along)
        y, x, here = y[sharp], x[sharp], here[sharp]
        alone = _others(signal, band, y, x) < np.maximum(_FAINT, _OTHER_BANDS * here)
        hits[band, y[alone], x[alone]] = True
        _grow(hits[band], signal, band)
    return hits


def _others(signal: Float32, band: int, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> Float32:
    """Largest signal to noise of any other band within one pixel; -inf for a single band."""
    largest = np.full(y.shape, -np.inf, np.float32)
    for other in range(signal.shape[0]):
        if other == band:
            continue
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                np.maximum(largest, signal[other][y + dy, x + dx], out=largest)
    return largest


def _grow(hits: Bool, signal: Float32, band: int) -> None:
    """Add the lit neighbours of hits; `hits` is changed."""
    y, x = np.nonzero(hits)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            ny, nx = y + dy, x + dx
            inside = (ny > 0) & (nx > 0) & (ny < hits.shape[0] - 1) & (nx < hits.shape[1] - 1)
            ny, nx = ny[inside], nx[inside]
            lit = signal[band][ny, nx]
            own = (lit > _FAINT) & (_others(signal, band, ny, nx) < np.maximum(_FAINT, _OTHER_BANDS * lit))
            hits[ny[own], nx[own]] = True
