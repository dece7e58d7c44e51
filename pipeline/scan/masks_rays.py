"""Cosmic rays: sharper than anything that came through the telescope and, where there are bands, in one alone.

Light that has passed a PSF cannot stand out from its neighbours by more than a star does. That bound holds for
any scene, so galaxies and arcs need no test of their own, and it is measured on the field's own stars.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.scan.native import native

Float32 = npt.NDArray[np.float32]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

_PAIRS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))
"""Steps (y, x) to one of two neighbours on opposite sides."""

_RING = tuple((dy, dx) for dy in range(-4, 5) for dx in range(-4, 5) if max(abs(dy), abs(dx)) > 2)
"""Pixels three and four away, whose scatter tells the noise where the noise map does not follow it."""

_FRAME = 5
_GROWTH = 6
RAY_MARGIN = 2 * _FRAME + _GROWTH + 1
"""Rows beyond a pixel that its answer depends on."""

_CERTAIN = 2.0 / 3.0
"""Share of the significance that the bound of the stars themselves is to be exceeded by, noise counted in."""

_WEAKER = 1.0 / 3.0
"""Share of the significance that is asked of a neighbour of a hit."""

_UNKNOWN = np.float32(1e9)
"""Signal to noise of a pixel without data: so bright that its neighbours never stand out from it."""

_OTHER_BANDS = 0.25
_FAINT = 3.0


@dataclass(frozen=True)
class _Bounds:
    """How sharp the stars of a band are, and how much sharper light may be."""

    stars: float
    room: float

    def at(self, step: tuple[int, int]) -> tuple[float, float]:
        """Largest ratio of a pixel to the mean of a pair: that of the stars, and the one with room."""
        squared = step[0] ** 2 + step[1] ** 2
        return self.stars**squared, (self.stars * self.room) ** squared

    def factors(self) -> tuple[Float32, Float32, Float32]:
        """Half of both ratios for each of `_PAIRS`, and between them the noise of a pixel against that of the stars."""
        stars, sharper = (0.5 * np.array(ratios) for ratios in zip(*map(self.at, _PAIRS), strict=True))
        noises = _CERTAIN * np.sqrt(1.0 + 2.0 * stars * stars)
        return stars.astype(np.float32), noises.astype(np.float32), sharper.astype(np.float32)

    def pointed(self) -> Float32:
        """Half of the fourth root of the wider ratio for each of `_PAIRS`: above it is no core of a galaxy."""
        return np.array([0.5 * self.at(step)[1] ** 0.25 for step in _PAIRS], np.float32)


def find_cosmic_rays(
    excess: Float32, noise: Float32, taken: Bool, significance: float, sharpest: Float32, room: float
) -> Bool:
    """Pixels hit by a cosmic ray.

    Through a Gaussian PSF whose central pixel is k times its neighbours at one pixel, no pixel is more than
    k^(r^2) times the mean of two that lie on opposite sides of it at r pixels, whatever the scene (the ratio of
    a PSF to the mean of two shifted copies is largest at its centre, and a sum of PSFs has no larger one); PSFs
    with wings are smoother. A hit exceeds the bound of a PSF `room` times sharper than that of the stars by
    `significance` of the noise along some direction; the stars' own by two thirds of it, the noise of the two
    neighbours counted in; and both by as much of the spread of its surroundings. Where there are several bands, none
    of the others may have anything pointed within one pixel of it. From a hit its ray is followed to neighbours that
    exceed the bounds by a third of the significance; the pixels around it have some of its charge and are flagged too.

    Parameters
    ----------
    excess, noise : float32 (band, y, x), nJy
        Background-subtracted image, NaN for no data, and the noise of a pixel.
    taken : bool (band, y, x)
        Saturated and bled pixels and bad columns, whose sides are sharp too; never a ray.
    significance : float
        sigma
    sharpest : float32 (band,)
        k of the stars, from `sharpness`.
    room : float
        At least 1: by how much k may vary over the field.

    Returns
    -------
    bool (band, y, x)
    """
    framed = _framed(excess, noise)
    bounds = [_Bounds(float(ratio), room) for ratio in sharpest]
    heights = np.stack([bound.pointed() for bound in bounds])
    hits = np.zeros(excess.shape, bool)
    for band in range(excess.shape[0]):
        light = framed[band]
        y, x, clear = _sharp(light, taken[band], significance, *bounds[band].factors())
        own = (clear > significance * _spread(light, y, x)) & _alone(framed, band, y, x, heights)
        hits[band, y[own], x[own]] = True
        _follow(
            hits[band],
            framed,
            band,
            taken[band],
            _WEAKER * significance,
            *bounds[band].factors(),
            heights,
            y[own],
            x[own],
        )
    return hits


def _framed(excess: Float32, noise: Float32) -> Float32:
    """Signal to noise in a frame of `_FRAME` pixels that repeats the outermost ones, so that a ray there is seen."""
    bands, height, width = excess.shape
    framed = np.empty((bands, height + 2 * _FRAME, width + 2 * _FRAME), np.float32)
    for band in range(bands):
        _divided(framed[band, _FRAME:-_FRAME, _FRAME:-_FRAME], excess[band], noise[band])
    framed[:, :_FRAME], framed[:, -_FRAME:] = framed[:, _FRAME, None], framed[:, -_FRAME - 1, None]
    framed[:, :, :_FRAME], framed[:, :, -_FRAME:] = framed[:, :, _FRAME, None], framed[:, :, -_FRAME - 1, None]
    return framed


@native
def _divided(signal: Float32, excess: Float32, noise: Float32) -> None:
    for y in range(excess.shape[0]):
        for x in range(excess.shape[1]):
            value = excess[y, x] / noise[y, x]
            signal[y, x] = value if np.isfinite(value) else _UNKNOWN


@native
def _sharp(
    light: Float32, taken: Bool, significance: float, stars: Float32, noises: Float32, sharper: Float32
) -> tuple[Int, Int, Float32]:
    """Pixels that exceed both bounds by `significance`, in the order of rows, and by how much they do."""
    height, width = taken.shape
    rows, columns, clearest = [0 for _ in range(0)], [0 for _ in range(0)], [np.float32(0.0) for _ in range(0)]
    for y in range(height):
        for x in range(width):
            here = light[y + _FRAME, x + _FRAME]
            if here > significance and here < _UNKNOWN and not taken[y, x]:
                clear = _clear_at(light, y + _FRAME, x + _FRAME, stars, noises, sharper)
                if clear > significance:
                    rows.append(y)
                    columns.append(x)
                    clearest.append(clear)
    return np.array(rows), np.array(columns), np.array(clearest)


@native
def _clear_at(light: Float32, y: int, x: int, stars: Float32, noises: Float32, sharper: Float32) -> np.float32:
    clearest = np.float32(-np.inf)
    for k, (dy, dx) in enumerate(_PAIRS):
        pair = max(light[y + dy, x + dx], np.float32(0.0)) + max(light[y - dy, x - dx], np.float32(0.0))
        certain = (light[y, x] - stars[k] * pair) / noises[k]
        clearest = max(clearest, min(certain, light[y, x] - sharper[k] * pair))
    return clearest


def _spread(light: Float32, y: Int, x: Int) -> Float32:
    """Scatter of the surroundings in units of the noise, at least 1.

    That of pixels about the mean of the two beside them, which the light of a galaxy leaves alone; robust, because
    the ray itself runs through.
    """
    if not y.size:
        return np.ones(0, np.float32)
    y, x = y + _FRAME, x + _FRAME
    bends = np.stack(
        [light[y + b, x + a] - 0.5 * (light[y + b, x + a - 1] + light[y + b, x + a + 1]) for b, a in _RING]
    )
    scatter = (1.4826 / np.sqrt(1.5)) * np.median(np.abs(bends), axis=0)
    return np.asarray(np.maximum(scatter, 1.0), np.float32)


@native
def _alone(framed: Float32, band: int, y: Int, x: Int, heights: Float32) -> Bool:
    """Where no other band has a point of a quarter of this one's height, and of 3 sigma, within one pixel.

    The height is that above the fourth root of the bound, which a star exceeds and the core of a galaxy, which a ray
    may have hit, does not.
    """
    alone = np.empty(len(y), np.bool_)
    for k in range(len(y)):
        alone[k] = _alone_at(framed, band, y[k] + _FRAME, x[k] + _FRAME, heights)
    return alone


@native
def _alone_at(framed: Float32, band: int, y: int, x: int, heights: Float32) -> bool:
    limit = max(np.float32(_FAINT), np.float32(_OTHER_BANDS) * _height(framed[band], y, x, heights[band]))
    for other in range(framed.shape[0]):
        if other == band:
            continue
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                known = framed[other, y + dy, x + dx] < _UNKNOWN
                if known and _height(framed[other], y + dy, x + dx, heights[other]) >= limit:
                    return False
    return True


@native
def _height(light: Float32, y: int, x: int, heights: Float32) -> np.float32:
    highest = np.float32(-np.inf)
    for k, (dy, dx) in enumerate(_PAIRS):
        pair = max(light[y + dy, x + dx], np.float32(0.0)) + max(light[y - dy, x - dx], np.float32(0.0))
        highest = max(highest, light[y, x] - heights[k] * pair)
    return highest


@native
def _follow(
    hits: Bool,
    framed: Float32,
    band: int,
    taken: Bool,
    significance: float,
    stars: Float32,
    noises: Float32,
    sharper: Float32,
    heights: Float32,
    y: Int,
    x: Int,
) -> None:
    """Add to hits at y and x the rest of their rays, then every pixel beside them; `hits` is changed."""
    height, width = hits.shape
    light = framed[band]
    ray = [(y[k], x[k]) for k in range(len(y))]
    first = 0
    for turn in range(_GROWTH + 1):
        last = len(ray)
        # A pixel that was not added beside one hit is not beside another, so that only new hits are looked at; the
        # last turn looks at all of them.
        for k in range(first if turn < _GROWTH else 0, last):
            for row in range(max(ray[k][0] - 1, 0), min(ray[k][0] + 2, height)):
                for column in range(max(ray[k][1] - 1, 0), min(ray[k][1] + 2, width)):
                    here = light[row + _FRAME, column + _FRAME]
                    if hits[row, column] or taken[row, column] or here >= _UNKNOWN:
                        continue
                    if turn < _GROWTH:
                        place = row + _FRAME, column + _FRAME
                        if not here > _FAINT or not _clear_at(light, *place, stars, noises, sharper) > significance:
                            continue
                        if not _alone_at(framed, band, *place, heights):
                            continue
                        ray.append((row, column))
                    hits[row, column] = True
        first = last
