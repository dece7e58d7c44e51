"""Medians of a picture in the sectors of rings, which neither a star nor a galaxy on a ring moves by much."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.scan.native import WHOLE, native

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

SECTORS = 24
_ANGLES = 4
_DIRECTIONS = (np.arange(SECTORS * _ANGLES) + 0.5) * (2 * np.pi / (SECTORS * _ANGLES))
_SINES, _COSINES = (np.ascontiguousarray(part(_DIRECTIONS).reshape(SECTORS, _ANGLES).T) for part in (np.sin, np.cos))
"""Of the samples of a ring: (angle within its sector, sector)."""


def sector_medians(picture: Float32, circles: Float64, inner: Float64, outer: Float64) -> Float64:
    """Median of the picture in each sector of rings.

    Parameters
    ----------
    picture : float32 (y, x)
    circles : float64 (n, 3)
        x, y and radius, bins.
    inner, outer : float64 (n,)
        Edges of the rings beyond the radii, bins; samples lie as far apart in each as the widest ring needs.

    Returns
    -------
    float64 (n, sector)
        NaN where less than half of a sector has data.
    """
    count = max(2, int(np.ceil((outer - inner).max())))
    medians = np.empty((len(circles), SECTORS))
    _fill(medians, picture, circles, inner, outer, (np.arange(count) + 0.5) / count, _SINES, _COSINES)
    return medians


@native
def _fill(
    medians: Float64,
    picture: Float32,
    circles: Float64,
    inner: Float64,
    outer: Float64,
    shares: Float64,
    sines: Float64,
    cosines: Float64,
) -> None:
    """Fill in what `sector_medians` gives, from samples at `shares` of the way from the inner to the outer edges."""
    height, width = picture.shape
    sectors = sines.shape[1]
    samples = len(sines) * len(shares)
    values = np.empty((samples, sectors), np.float32)
    for k in range(len(circles)):
        known = np.zeros(sectors, np.intp)
        for sample in range(samples):
            radius = max(circles[k, 2] + inner[k] + shares[sample // len(sines)] * (outer[k] - inner[k]), 0.0)
            sine, cosine = sines[sample % len(sines)], cosines[sample % len(sines)]
            for sector in range(sectors):
                y = (circles[k, 1] + radius * sine[sector] + WHOLE) - WHOLE
                x = (circles[k, 0] + radius * cosine[sector] + WHOLE) - WHOLE
                inside = 0 <= y < height and 0 <= x < width
                value = picture[np.intp(y) if inside else 0, np.intp(x) if inside else 0]
                there = inside and np.isfinite(value)
                values[sample, sector] = value if there else np.float32(np.inf)
                known[sector] += there
        # Neighbours change places until all are sorted: many comparisons, but of all sectors at once.
        for turn in range(samples):
            for sample in range(turn % 2, samples - 1, 2):
                for sector in range(sectors):
                    one, other = values[sample, sector], values[sample + 1, sector]
                    values[sample, sector] = one if one < other else other
                    values[sample + 1, sector] = other if one < other else one
        for sector in range(sectors):
            number = known[sector]
            if 2 * number < samples:
                medians[k, sector] = np.nan
            else:
                middle_two = values[(number - 1) // 2, sector] + values[number // 2, sector]
                medians[k, sector] = np.float32(0.5) * middle_two


@native
def middle_of(values: Float64) -> float:
    """Median of the finite ones of a few values; NaN for none."""
    known = np.sort(values[np.isfinite(values)])
    if not known.size:
        return np.nan
    return np.float64(0.5 * (known[(known.size - 1) // 2] + known[known.size // 2]))
