"""Cosmic rays: sharper than anything that came through the telescope and, where there are bands, in one alone.

Light that has passed a PSF cannot stand out from its neighbours by more than a star does. That bound holds for
any scene, so galaxies and arcs need no test of their own, and it is measured on the field's own stars.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

_PAIRS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))
"""Steps (y, x) to one of two neighbours on opposite sides."""

_RING = tuple((dy, dx) for dy in range(-3, 4) for dx in range(-3, 4) if max(abs(dy), abs(dx)) > 1 and (dy, dx) > (0, 0))
"""Half of the pixels two or three away; the other half lies opposite."""

_FRAME = 3
_GROWTH = 3
RAY_MARGIN = 2 * _FRAME + _GROWTH
"""Rows beyond a pixel that its answer depends on."""

_UNKNOWN = np.float32(1e9)
"""Signal to noise of a pixel without data: so bright that its neighbours never stand out from it."""

_OTHER_BANDS = 0.25
_FAINT = 3.0


def find_cosmic_rays(excess: Float32, noise: Float32, taken: Bool, significance: float, sharpest: Float32) -> Bool:
    """Pixels hit by a cosmic ray.

    Through a Gaussian PSF whose central pixel is k times its neighbours at one pixel, no pixel is more than
    k^(r^2) times the mean of two that lie on opposite sides of it at r pixels, whatever the scene (the ratio of
    a PSF to the mean of two shifted copies is largest at its centre, and a sum of PSFs has no larger one); PSFs
    with wings are smoother. A hit exceeds that bound along some direction by `significance` of the noise, and
    by as many times the spread of its surroundings. Where there are several bands, none of the others may have
    anything pointed within one pixel of it. From a hit its ray is followed to neighbours that exceed the bound by
    3 sigma, and neighbours that are merely lit belong to it.

    Parameters
    ----------
    excess, noise : float32 (band, y, x), nJy
        Background-subtracted image, NaN for no data, and the noise of a pixel.
    taken : bool (band, y, x)
        Saturated and bled pixels and bad columns, whose sides are sharp too; never a ray.
    significance : float
        sigma
    sharpest : float32 (band,)
        k, with room for what a PSF varies over the field.

    Returns
    -------
    bool (band, y, x)
    """
    with np.errstate(invalid="ignore"):
        signal = excess / noise
    signal[~np.isfinite(signal)] = _UNKNOWN
    # Beyond the border the outermost pixels repeat, so that a ray there is seen along the border.
    framed = np.pad(signal, ((0, 0), (_FRAME, _FRAME), (_FRAME, _FRAME)), mode="edge")
    hits = np.zeros(signal.shape, bool)
    for band in range(signal.shape[0]):
        light, limits = framed[band], _limits(float(sharpest[band]))
        y, x = np.nonzero((signal[band] > significance) & (signal[band] < _UNKNOWN) & ~taken[band])
        over = _over(light, y, x, limits)
        sharp = over > significance
        y, x, over = y[sharp], x[sharp], over[sharp]
        clear = (over > significance * _spread(light, y, x)) & _alone(framed, band, y, x, over)
        hits[band, y[clear], x[clear]] = True
        _follow(hits[band], framed, band, taken[band], limits)
    return hits


def _limits(sharpest: float) -> list[float]:
    """Largest ratio of a pixel to the mean of each of `_PAIRS`."""
    return [float(sharpest ** (dy * dy + dx * dx)) for dy, dx in _PAIRS]


def _over(light: Float32, y: Int, x: Int, limits: list[float]) -> Float32:
    """By how much pixels exceed the bound along the direction in which they do so most, sigma."""
    y, x = y + _FRAME, x + _FRAME
    here = light[y, x]
    bound = np.full(y.shape, np.inf, np.float32)
    for (dy, dx), limit in zip(_PAIRS, limits, strict=True):
        pair = np.maximum(light[y + dy, x + dx], 0.0) + np.maximum(light[y - dy, x - dx], 0.0)
        np.minimum(bound, np.float32(0.5 * limit) * pair, out=bound)
    over: Float32 = here - bound
    return over


def _spread(light: Float32, y: Int, x: Int) -> Float32:
    """Scatter of the surroundings in units of the noise, at least 1.

    That of the sums of opposite pixels, which a slope leaves alone; robust, because the ray itself runs through.
    """
    if not y.size:
        return np.ones(0, np.float32)
    y, x = y + _FRAME, x + _FRAME
    sums = np.stack([light[y + dy, x + dx] + light[y - dy, x - dx] for dy, dx in _RING])
    sums -= np.median(sums, axis=0)
    scatter: Float32 = np.float32(1.4826 / np.sqrt(2.0)) * np.median(np.abs(sums), axis=0)
    return np.maximum(scatter, np.float32(1.0))


def _alone(framed: Float32, band: int, y: Int, x: Int, over: Float32) -> Bool:
    """Where no other band has a point of a quarter of `over` (and of 3 sigma) within one pixel.

    What counts is the height above pixels two away, so that a ray on a galaxy is one all the same.
    """
    largest = np.zeros(y.shape, np.float32)
    for other in range(framed.shape[0]):
        if other == band:
            continue
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                np.maximum(largest, _over_two_away(framed[other], y + dy, x + dx), out=largest)
    return largest < np.maximum(_FAINT, _OTHER_BANDS * over)


def _over_two_away(light: Float32, y: Int, x: Int) -> Float32:
    y, x = y + _FRAME, x + _FRAME
    along = light[y - 2, x] + light[y + 2, x]
    across = light[y, x - 2] + light[y, x + 2]
    here = np.where(light[y, x] < _UNKNOWN, light[y, x], np.float32(0.0))
    height: Float32 = here - 0.5 * np.maximum(np.minimum(along, across), 0.0)
    return height


def _follow(hits: Bool, framed: Float32, band: int, taken: Bool, limits: list[float]) -> None:
    """Add to hits the rest of their rays, then the lit pixels beside them; `hits` is changed."""
    light = framed[band]
    for step in range(_GROWTH + 1):
        y, x = _beside(hits)
        if not y.size:
            return
        over = light[y + _FRAME, x + _FRAME] if step == _GROWTH else _over(light, y, x, limits)
        own = (over > _FAINT) & (light[y + _FRAME, x + _FRAME] < _UNKNOWN) & ~taken[y, x]
        y, x, over = y[own], x[own], over[own]
        alone = _alone(framed, band, y, x, over)
        hits[y[alone], x[alone]] = True


def _beside(hits: Bool) -> tuple[Int, Int]:
    """Neighbours of hits that are none themselves."""
    y, x = np.nonzero(hits)
    height, width = hits.shape
    places = []
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            row, column = y + dy, x + dx
            inside = (row >= 0) & (column >= 0) & (row < height) & (column < width)
            places.append(row[inside] * width + column[inside])
    row, column = np.divmod(np.unique(np.concatenate(places)), width)
    new = ~hits[row, column]
    return row[new], column[new]
