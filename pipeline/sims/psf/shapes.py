"""Centres, sizes and shapes of the objects in the middle of stamps, from Gaussian-weighted second moments."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.flags import fatal
from pipeline.io.cutout_store import Stamps
from pipeline.sims.render.light import Float64

_ITERATIONS = 8
_WEIGHT = 1.0
"""Standard deviation of the first weight, arcsec."""
_FARTHEST = 2.0
"""Arcsec that a centroid may walk from the stamp's middle."""


@dataclass(frozen=True)
class Shapes:
    """What the middle of stamps looks like, one value a stamp and band; NaN where nothing can be measured.

    Attributes
    ----------
    x, y : float64 (n, band), pixels
        Centroid, 0-based in the stamp.
    size : float64 (n, band), arcsec
        Standard deviation of the light, the geometric mean of the two axes.
    q, angle : float64 (n, band)
        Axis ratio of the moments, and direction of the long axis from x towards y, radians.
    good : bool (n, band)
    """

    x: Float64
    y: Float64
    size: Float64
    q: Float64
    angle: Float64
    good: npt.NDArray[np.bool_]


def measure_shapes(stamps: Stamps, pixel_scale: float, weight: float = _WEIGHT) -> Shapes:
    """Moments under a round Gaussian weight that follows the centroid.

    For a Gaussian object of covariance C under a weight of covariance W the weighted moments M obey
    C^-1 = M^-1 - W^-1, which is undone (Bernstein & Jarvis 2002, AJ 123, 583, sec. 3); for other profiles this is the
    shape of the part that the weight sees. Pixels without data or under a fatal flag have no weight.

    Parameters
    ----------
    stamps : Stamps
        (n, band, y, x)
    pixel_scale : arcsec
    weight : arcsec
        Standard deviation of the weight.
    """
    count, bands, height, width = stamps.image.shape
    x, y, size, q, angle = (np.full((count, bands), np.nan) for _ in range(5))
    rows, columns = np.indices((height, width), np.float32) - np.array([height // 2, width // 2])[:, None, None]
    reach = _FARTHEST / pixel_scale
    for index in range(count):
        usable = np.isfinite(stamps.image[index]) & ~fatal(stamps.mask[index])
        light = np.where(usable, stamps.image[index], 0.0)
        for band in range(bands):
            found = _moments(light[band], columns, rows, (weight / pixel_scale) ** 2, reach)
            if found is None:
                continue
            dx, dy, xx, yy, xy = found
            x[index, band], y[index, band] = dx + width // 2, dy + height // 2
            mean, difference = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
            size[index, band] = (mean**2 - difference**2) ** 0.25 * pixel_scale
            q[index, band] = np.sqrt((mean - difference) / (mean + difference))
            angle[index, band] = 0.5 * np.arctan2(2 * xy, xx - yy)
    return Shapes(x, y, size, q, angle, np.isfinite(size))


def _moments(
    light: npt.NDArray[np.floating], columns: Float64, rows: Float64, variance: float, reach: float
) -> tuple[float, float, float, float, float] | None:
    """Centroid from the stamp's middle and second moments (xx, yy, xy) without the weight, in pixels; None if none."""
    dx = dy = 0.0
    for _ in range(_ITERATIONS):
        u, v = columns - dx, rows - dy
        weighted = light * np.exp(-0.5 * (u * u + v * v) / variance)
        total = float(weighted.sum(dtype=np.float64))
        if not total > 0:
            return None
        # Twice the weighted step: the weight's own centre holds the centroid back.
        dx += 2 * float((weighted * u).sum(dtype=np.float64)) / total
        dy += 2 * float((weighted * v).sum(dtype=np.float64)) / total
        if not np.hypot(dx, dy) < reach:
            return None
    u, v = columns - dx, rows - dy
    weighted = light * np.exp(-0.5 * (u * u + v * v) / variance)
    total = float(weighted.sum(dtype=np.float64))
    if not total > 0:
        return None
    products = (u * u, v * v, u * v)
    xx, yy, xy = (float((weighted * product).sum(dtype=np.float64)) / total for product in products)
    seen = np.array([[xx, xy], [xy, yy]])
    if not (np.linalg.eigvalsh(seen) > 0).all():
        return None
    inverse = np.linalg.inv(seen) - np.eye(2) / variance
    if not (np.linalg.eigvalsh(inverse) > 0).all():
        return None
    own = np.linalg.inv(inverse)
    return dx, dy, float(own[0, 0]), float(own[1, 1]), float(own[0, 1])
