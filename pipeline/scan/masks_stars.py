"""Bright stars: where they are, and the reach of their light, halos and spikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects, label, map_coordinates, maximum_filter1d, uniform_filter1d

from pipeline.flags import PixelFlag
from pipeline.scan.masks_flags import Shape, disc
from pipeline.scan.masks_picture import sky_picture
from pipeline.scan.masks_profile import FieldProfile
from pipeline.scan.medians import middle
from pipeline.scan.native import native
from pipeline.scan_config import MasksConfig

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_RING = 3.0
"""Arcsec from a star at which next to nothing of its peak is left, seen from the ground or from space."""

_LEFT = 0.012
"""That next to nothing: a galaxy with a core as bright has several times as much there."""

_DEGREES = 1.0
_CUT = 3.0
"""Of the light of a bin in units of a pixel's noise, so that a neighbour is no spike."""

_WINDOWS = (6, 12, 24)
"""Lengths along a spike, bins, that are tried."""

_APART = 8
"""Degrees between one spike and the next."""

_ARM_SIGMA = 6.0
_LEAST_RING = 0.15
"""Share of a ring that must have data."""

_FADED = 0.3
"""A spike or halo ends where its light is below this share of the level from which it counts."""


@dataclass(frozen=True)
class Star:
    """A bright star: its centre in pixels, and the bins of its core and bleed."""

    x: float
    y: float
    core: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


def find_stars(profile: FieldProfile, levels: Float32, config: MasksConfig, pixel_scale: float) -> list[Star]:
    """Stars saturated in the pixels of a band or by the survey's mask, or so bright and sharp that they must be stars.

    Parameters
    ----------
    profile : FieldProfile
    levels : float32 (band,), nJy
        From `masks_saturation.saturation_levels`.
    config : MasksConfig
        `star_snr` is the signal to noise of the brightest pixel of a star that isn't saturated.
    pixel_scale : float
        Arcsec.
    """
    typical = np.median(profile.noise.values, axis=(1, 2))[:, None, None]
    burnt: Bool = np.any(profile.saturated | (profile.peak >= levels[:, None, None]), axis=0)
    signal = (profile.peak / typical).max(axis=0)
    light = _stack(profile)
    labels, _ = label(burnt | (signal >= config.star_snr), structure=np.ones((3, 3)))
    stars = []
    for number, place in enumerate(find_objects(labels), start=1):
        rows, columns = np.nonzero(labels[place] == number)
        rows, columns = rows + place[0].start, columns + place[1].start
        x, y = float(np.median(columns)), _middle_row(light, rows, columns)
        ring = _ring(light, x, y, max(_RING / pixel_scale / profile.bin, 2.0))
        sharp = ring.size > 0 and float(np.median(ring)) < _LEFT * float(signal[rows, columns].max())
        if burnt[rows, columns].any() or sharp:
            stars.append(Star((x + 0.5) * profile.bin - 0.5, (y + 0.5) * profile.bin - 0.5, (rows, columns)))
    return stars


def bright_stars(profile: FieldProfile, stars: Sequence[Star], config: MasksConfig, pixel_scale: float) -> list[Shape]:
    """Light, halo and spikes of stars, per band.

    The halo ends where the median of a ring falls below `halo_level` of the pixel noise above the sky around the
    star; BRIGHT_OBJECT is the part of it in which the star's own light outshines the halo. Spikes are crosses or
    single rays on which it is brighter than on most of the ring.
    """
    shapes: list[Shape] = []
    side = profile.bin
    largest = config.bright_star_radius / pixel_scale / side
    least = _RING / pixel_scale / side
    for band in range(profile.peak.shape[0]) if stars else ():
        picture = sky_picture(profile, band)
        hidden = picture.copy()
        for star in stars:
            hidden[star.core] = np.nan
        for star in stars:
            x, y = (star.x + 0.5) / side - 0.5, (star.y + 0.5) / side - 0.5
            polar = _polar(hidden, x, y, 2 * largest)
            rings = _rings(polar)
            if not np.isfinite(rings).any():
                continue  # Nothing is known of this star's surroundings in this band.
            radius = _halo_radius(rings, int(largest), config.halo_level)
            plateau = float(np.median(rings[int(0.6 * radius) : radius + 1]))
            bright = max(_first(rings < plateau + 2 * config.halo_level, radius), min(radius, least), 2.0)
            shapes.append(disc(band, PixelFlag.HALO, star.x, star.y, (radius + 1.0) * side))
            shapes.append(disc(band, PixelFlag.BRIGHT_OBJECT, star.x, star.y, (bright + 0.5) * side))
            excess = polar - np.where(np.isfinite(rings), rings, 0.0)[:, None]
            for angle, reach in _spikes(excess, int(bright), config.spike_level):
                end = (star.x + reach * side * np.cos(angle), star.y + reach * side * np.sin(angle))
                half_width = max(config.spike_half_width / pixel_scale, side)
                shapes.append(Shape(band, PixelFlag.SPIKE, star.x, star.y, float(end[0]), float(end[1]), half_width))
    return shapes


def _stack(profile: FieldProfile) -> Float32:
    """The brightest band of each bin, in units of a pixel's noise; 0 where there is no data."""
    pictures = [np.nan_to_num(sky_picture(profile, band), nan=0.0) for band in range(profile.peak.shape[0])]
    stack: Float32 = np.max(pictures, axis=0).astype(np.float32)
    return stack


def _middle_row(light: Float32, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp]) -> float:
    """Row of a star in a group of bins that its bleed has drawn out: where there is most light beside the bleed."""
    first, last = int(rows.min()), int(rows.max())
    if last - first < 4:
        return float(rows.mean())
    left, right = int(columns.min()), int(columns.max())
    beside = np.zeros(last - first + 1)
    for low, high in ((left - 4, left - 1), (right + 2, right + 5)):
        part = light[first : last + 1, max(low, 0) : max(high, 0)]
        if part.shape[1]:
            beside += part.mean(axis=1)
    smooth = uniform_filter1d(beside, 3, mode="nearest")
    half = smooth > 0.5 * smooth.max()
    return float(np.average(np.arange(first, last + 1), weights=smooth * half)) if smooth.max() > 0 else rows.mean()


def _ring(picture: Float32, x: float, y: float, radius: float) -> Float64:
    """Bins on a circle, those inside the picture."""
    angles = np.radians(np.arange(0.0, 360.0, 6.0))
    rows = np.rint(y + radius * np.sin(angles)).astype(int)
    columns = np.rint(x + radius * np.cos(angles)).astype(int)
    inside = (rows >= 0) & (columns >= 0) & (rows < picture.shape[0]) & (columns < picture.shape[1])
    ring: Float64 = picture[rows[inside], columns[inside]].astype(np.float64)
    return ring


def _polar(picture: Float32, x: float, y: float, reach: float) -> Float32:
    """The picture in polar coordinates: (radius, angle), from radius 0 in bins and in degrees; NaN for no data."""
    angles = np.radians(np.arange(0.0, 360.0, _DEGREES))
    radii = np.arange(0.0, reach + 1)
    rows = y + radii[:, None] * np.sin(angles)[None, :]
    columns = x + radii[:, None] * np.cos(angles)[None, :]
    polar: Float32 = map_coordinates(picture, [rows, columns], order=0, mode="constant", cval=np.nan)
    return polar


def _rings(polar: Float32) -> Float64:
    """Median of each ring; infinite in the star's core, and as the last one known where too little has data."""
    number = np.isfinite(polar).sum(axis=1)
    known = number / polar.shape[1] >= _LEAST_RING
    medians = middle(np.sort(polar, axis=1).T, number).astype(np.float64)
    rings = np.where(known, medians, np.inf)
    seen = np.flatnonzero(known)
    if seen.size:
        rings[seen[-1] + 1 :] = rings[seen[-1]]
    return rings


@native
def _halo_radius(rings: Float64, largest: int, level: float) -> int:
    """Furthest radius at which the light drops by `level` to what lies beyond, all within being as bright.

    Compared with the rings just outside, because a slope or a step of the sky makes far ones another sky.
    """
    radius = 0
    faintest = rings[0]
    for index in range(1, min(largest, len(rings) - 4)):
        faintest = min(faintest, rings[index])
        outside = np.sort(rings[index + 2 : index + 2 + max(8, index // 2)])
        beyond = 0.5 * (outside[(outside.size - 1) // 2] + outside[outside.size // 2])
        if not np.isfinite(beyond):
            continue
        if min(rings[index], rings[index - 1]) - beyond >= level and faintest - beyond >= 0.7 * level:
            radius = index
    return radius


def _first(below: Bool, largest: float) -> float:
    """First radius from which two rings in a row are below, or the largest."""
    hit = np.flatnonzero(below[:-1] & below[1:])
    return min(float(hit[0]) if hit.size else float(len(below)), largest)


def _spikes(excess: Float32, start: int, level: float) -> list[tuple[float, float]]:
    """Angle (radians) and reach (bins) of the spikes of a star.

    Parameters
    ----------
    excess : float32 (radius, angle)
        Light above the ring's median; NaN for no data.
    start : int
        Radius from which the star's own light is faint.
    level : float
        Excess of a single ray that counts; four rays at right angles count together if they stand out from all
        other crosses.
    """
    cut = np.clip(excess, -_CUT, _CUT)
    rays = _cross(cut, start, level)
    for ray in _single(excess, start, level):
        # A ray of the cross, a degree beside it, is no other.
        if all(min(abs(ray - other) % 360, -abs(ray - other) % 360) > _APART for other in rays):
            rays.append(ray)
    return [(np.radians(ray * _DEGREES), _reach(cut, ray, start, level)) for ray in rays]


def _single(excess: Float32, start: int, level: float) -> list[int]:
    """Directions in which half of the bins beyond the star's light stand out by `level`."""
    part = excess[start : start + _WINDOWS[0]]
    known = np.isfinite(part).sum(axis=0) >= _WINDOWS[0] // 2
    if part.shape[0] < 4 or not known.any():
        return []
    strength = np.full(part.shape[1], -np.inf)
    strength[known] = np.nanmedian(part[:, known], axis=0)
    crest = strength == maximum_filter1d(strength, 2 * _APART + 1, mode="wrap")
    return [int(ray) for ray in np.flatnonzero(crest & (strength >= level))]


def _cross(excess: Float32, start: int, level: float) -> list[int]:
    """The four directions of a cross of light that stands out from every other cross."""
    quarter = excess.shape[1] // 4
    best, rays = 0.0, list[int]()
    for window in _WINDOWS:
        part = excess[start : start + window]
        if part.shape[0] < 4:
            continue
        known = np.isfinite(part)
        number = known.sum(axis=0)
        mean = np.where(number >= 3, np.where(known, part, 0).sum(axis=0) / np.maximum(number, 1), np.nan)
        arms = np.column_stack([np.roll(mean, -turn * quarter)[:quarter] for turn in range(4)])
        seen = np.isfinite(arms).sum(axis=1)
        total = np.where(seen >= 2, np.nansum(arms, axis=1) / np.maximum(seen, 1), -np.inf)
        real = total[np.isfinite(total)]
        if real.size < quarter // 2:
            continue
        scatter = 1.4826 * float(np.median(np.abs(real - np.median(real)))) + 1e-6
        angle = int(np.argmax(total))
        significance = float(total[angle] - np.median(real)) / scatter
        # One neighbour on one arm is no cross.
        agreeing = (arms[angle][np.isfinite(arms[angle])] > 0.4 * total[angle]).sum()
        if total[angle] > _FADED * level and significance > max(best, _ARM_SIGMA) and agreeing >= min(3, seen[angle]):
            best, rays = significance, [angle + turn * quarter for turn in range(4)]
    return rays


def _reach(excess: Float32, ray: int, start: int, level: float) -> float:
    """Radius at which a ray has faded for good, bins."""
    beside = np.stack([excess[:, (ray + turn) % excess.shape[1]] for turn in (-1, 0, 1)])
    line = np.nan_to_num(beside, nan=0.0).mean(axis=0)
    smooth = uniform_filter1d(line, 5, mode="nearest")
    dark = np.flatnonzero(smooth[start:] < _FADED * level)
    return float(start + dark[0] if dark.size else len(smooth))
