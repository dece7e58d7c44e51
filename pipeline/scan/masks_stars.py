"""Bright stars: the reach of their halos and spikes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label, map_coordinates, maximum_filter, minimum_filter

from pipeline.flags import PixelFlag
from pipeline.scan.masks_flags import Shape, disc
from pipeline.scan.masks_profile import CLIP_SIGMA, FieldProfile
from pipeline.scan_config import MasksConfig

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Star:
    x: float
    y: float


def bright_stars(profile: FieldProfile, levels: Float32, config: MasksConfig, pixel_scale: float) -> list[Shape]:
    """Halo, core and spikes of every star that is saturated in the pixels or by the survey's mask, per band.

    The halo ends where the median of a ring falls below `halo_level` of the pixel noise in the binned
    picture; the inner half of it is flagged BRIGHT_OBJECT as well. A spike is a direction in which a ray
    beyond the core is brighter than the median direction by `spike_level` of the pixel noise.
    """
    shapes: list[Shape] = []
    for band in range(profile.peak.shape[0]):
        picture = np.where(np.isfinite(profile.binned[band]), profile.binned[band], np.float32(0.0))
        burnt = profile.saturated[band] | (profile.peak[band] >= levels[band])
        # Bins without usable pixels are the star's own core, as bright as the picture goes.
        picture[profile.saturated[band] & (picture == 0)] = CLIP_SIGMA
        for star in _stars(burnt):
            largest = config.bright_star_radius / pixel_scale / profile.bin
            rings, rays = _around(picture, star, largest)
            above = np.flatnonzero(np.median(rings, axis=1) < config.halo_level)
            radius = float(above[0] if above.size else len(rings)) + 1.0
            x, y = ((c + 0.5) * profile.bin - 0.5 for c in (star.x, star.y))
            shapes.append(disc(band, PixelFlag.HALO, x, y, radius * profile.bin))
            shapes.append(disc(band, PixelFlag.BRIGHT_OBJECT, x, y, max(radius / 2, 2.0) * profile.bin))
            shapes += _spikes(band, rays, radius, config.spike_level, (x, y), profile.bin)
    return shapes


def _stars(burnt: Bool) -> list[_Star]:
    """Centres of groups of bins with a saturated pixel, in bins."""
    labels, number = label(burnt, structure=np.ones((3, 3)))
    stars = []
    for index in range(1, number + 1):
        y, x = np.nonzero(labels == index)
        stars.append(_Star(float(x.mean()), float(y.mean())))
    return stars


def _around(picture: Float32, star: _Star, largest: float) -> tuple[Float32, Float32]:
    """The picture in polar coordinates about a star: rings (radius, angle) to `largest`, rays to twice that."""
    angles = np.radians(np.arange(0.0, 360.0, 2.0))
    radii = np.arange(1.0, 2 * largest + 1)
    y = star.y + radii[:, None] * np.sin(angles)[None, :]
    x = star.x + radii[:, None] * np.cos(angles)[None, :]
    polar = map_coordinates(picture, [y, x], order=1, mode="constant", cval=0.0)
    return polar[: int(np.ceil(largest))], polar


def _spikes(
    band: int, rays: Float32, radius: float, level: float, centre: tuple[float, float], side: int
) -> list[Shape]:
    """Segments along the directions that stay bright beyond the halo's inner half."""
    start = max(2, int(radius / 2))
    length = max(6, int(radius))
    part = rays[start : start + length]
    if part.shape[0] < 4:
        return []
    strength = np.median(part, axis=0)
    strength = strength - np.median(strength)
    crest = (strength >= level) & (strength == maximum_filter(strength, 5, mode="wrap"))
    shapes = []
    for index in np.flatnonzero(crest):
        angle = np.radians(2.0 * index)
        lit = rays[:, index] - np.median(rays, axis=1) > 0.5 * level
        dark = np.flatnonzero(minimum_filter(~lit[start:], 3, mode="nearest"))
        reach = (start + (int(dark[0]) if dark.size else lit.size - start)) * side
        end = (centre[0] + reach * np.cos(angle), centre[1] + reach * np.sin(angle))
        shapes.append(Shape(band, PixelFlag.SPIKE, *centre, float(end[0]), float(end[1]), 1.5 * side))
    return shapes
