"""Galaxies and stars of a synthetic sky: a pool of rendered templates, and where their copies lie.

The sky is cut into cells with a random stream of their own, so that a field of any size, and its neighbours in the
overlap, get the same objects without a catalogue of the whole sky. Copies are turned, flipped and scaled; each
template has its own place within a pixel, so positions are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.negatives.kinds import NEGATIVES
from pipeline.sims.population.galaxies import counted_magnitude, disc, elliptical, star_colours
from pipeline.sims.render.image import Psf, convolved, single_thread, transfer
from pipeline.sims.render.light import Float32, Float64, Grid, Light, Point, draw
from pipeline.sims.render.photometry import flux_of, fluxes

_CELL = 256
"""Pixels on a side of a cell."""
_BIN = 0.5
"""Width in magnitudes of a bin of templates."""
_SIDES = ((19.5, 40.0), (21.5, 24.0), (23.5, 14.0), (99.0, 9.0))
"""Templates up to this magnitude are rendered on a square of so many arcsec, and cropped."""
_FAINTEST = 0.03
"""Light below this share of a pixel's noise is left out."""
_STAR_PHASES = 4


@dataclass(frozen=True)
class Template:
    """A rendered object: light (band, s, s) in nJy, s odd, and its centre's (x, y) from the middle pixel."""

    light: Float32
    x: float
    y: float


@dataclass(frozen=True)
class Templates:
    """Galaxies by magnitude bin, and stars of flux 1 in every band by their place within a pixel."""

    galaxies: tuple[tuple[Template, ...], ...]
    stars: tuple[Template, ...]
    brightest: float


@dataclass(frozen=True)
class SkyObjects:
    """Objects in a part of the sky, float64 or integer arrays of one length.

    Attributes
    ----------
    x, y : float64
        Centres, in pixels of the plane that the fields share.
    column, row : int64
        The pixel that the template's middle goes on.
    template, turn : int64
        Index of a galaxy's template as bin * templates + number, or of a star's; and which of eight orientations.
    star : bool
    flux : float64 (n, band)
        Factor on the template's light.
    magnitude : float64, r
    """

    x: Float64
    y: Float64
    column: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    template: npt.NDArray[np.int64]
    turn: npt.NDArray[np.int64]
    star: npt.NDArray[np.bool_]
    flux: Float64
    magnitude: Float64


def make_templates(config: SkyConfig, psf: Psf, sigma: Float64, seed: int) -> Templates:
    """Render the pool of templates of a sky."""
    rng = np.random.default_rng([seed, 1])
    low, high = config.population.galaxies.magnitude
    galaxies = []
    for start in np.arange(low, high, _BIN):
        middle = float(start + _BIN / 2)
        side = next(side for limit, side in _SIDES if middle < limit)
        lights = [_galaxy(rng, config, middle) for _ in range(config.templates)]
        galaxies.append(tuple(_rendered(rng, lights, config, psf, sigma, side)))
    one = np.ones(len(config.bands))
    grid = _grid(config, 24.0)
    step = config.pixel_scale / _STAR_PHASES
    places = [(column * step, row * step) for row in range(_STAR_PHASES) for column in range(_STAR_PHASES)]
    half = config.pixel_scale / 2 - step / 2
    stars = []
    for x, y in places:
        point = Light((), (), (Point(x - half, y - half, one),))
        stamp = _convolved([point], grid, psf, 0.0)[0]
        stars.append(Template(stamp, (x - half) / config.pixel_scale, (y - half) / config.pixel_scale))
    return Templates(tuple(galaxies), tuple(stars), float(low))


def objects_in(
    config: SkyConfig, templates: Templates, seed: int, x: tuple[int, int], y: tuple[int, int]
) -> SkyObjects:
    """Objects whose cells meet a rectangle of the plane, ends in pixels; the same wherever it is cut."""
    cells = [
        _cell(config, templates, seed, column, row)
        for row in range(y[0] // _CELL, y[1] // _CELL + 1)
        for column in range(x[0] // _CELL, x[1] // _CELL + 1)
    ]
    return SkyObjects(
        *(np.concatenate([getattr(cell, name) for cell in cells]) for name in SkyObjects.__dataclass_fields__)
    )


def add_objects(
    image: Float32, objects: SkyObjects, templates: Templates, x0: int, y0: int, tick: Callable[[], None] | None = None
) -> None:
    """Add objects to an image (band, y, x) in place whose first pixel is (x0, y0) of the plane; in their order."""
    flat = tuple(template for magnitude_bin in templates.galaxies for template in magnitude_bin)
    _, ny, nx = image.shape
    for index in range(len(objects.x)):
        pool = templates.stars if objects.star[index] else flat
        template = turned(pool[objects.template[index]].light, int(objects.turn[index]))
        half = template.shape[-1] // 2
        left, top = int(objects.column[index]) - half - x0, int(objects.row[index]) - half - y0
        x_low, x_high = max(left, 0), min(left + template.shape[-1], nx)
        y_low, y_high = max(top, 0), min(top + template.shape[-2], ny)
        if x_low < x_high and y_low < y_high:
            part = template[:, y_low - top : y_high - top, x_low - left : x_high - left]
            image[:, y_low:y_high, x_low:x_high] += part * objects.flux[index].astype(np.float32)[:, None, None]
        if tick is not None:
            tick()


def turned(light: Float32, turn: int) -> Float32:
    """One of the eight orientations of a square (band, s, s): bit 0 flips x, bit 1 flips y, bit 2 then swaps them."""
    flipped = light[:, :: -1 if turn & 2 else 1, :: -1 if turn & 1 else 1]
    return flipped.swapaxes(1, 2) if turn & 4 else flipped


def _cell(config: SkyConfig, templates: Templates, seed: int, column: int, row: int) -> SkyObjects:
    # A seed is a list of non-negative integers, and cells reach below zero at the margin.
    rng = np.random.default_rng([seed, 2, column + 2**20, row + 2**20])
    population = config.population
    area = (_CELL * config.pixel_scale / 60) ** 2
    galaxies = int(rng.poisson(population.galaxies.density * area))
    stars = int(rng.poisson(population.stars.density * area))
    magnitude = counted_magnitude(rng, population.galaxies.magnitude, population.galaxies.count_slope, galaxies)
    brightest_star = max(population.stars.magnitude[0], population.artefacts.saturation)
    ends = brightest_star, population.stars.magnitude[1]
    star_magnitude = counted_magnitude(rng, ends, population.stars.count_slope, stars)
    bins = np.clip(((magnitude - templates.brightest) / _BIN).astype(np.int64), 0, len(templates.galaxies) - 1)
    number = rng.integers(0, config.templates, galaxies)
    centre = templates.brightest + (bins + 0.5) * _BIN
    scale = np.repeat((10 ** (-0.4 * (magnitude - centre)))[:, None], len(config.bands), axis=1)
    star_flux = [fluxes(float(m), star_colours(rng, population.stars), config.bands) for m in star_magnitude]
    phase = rng.integers(0, len(templates.stars), stars)
    n = galaxies + stars
    turn = rng.integers(0, 8, n)
    turn[galaxies:] = 0
    columns, rows = rng.integers(0, _CELL, n) + column * _CELL, rng.integers(0, _CELL, n) + row * _CELL
    chosen = [templates.galaxies[b][k] for b, k in zip(bins, number, strict=True)] + [templates.stars[k] for k in phase]
    offset = np.array([_turned_offset(item, int(t)) for item, t in zip(chosen, turn, strict=True)]).reshape(n, 2)
    return SkyObjects(
        x=columns + offset[:, 0],
        y=rows + offset[:, 1],
        column=columns,
        row=rows,
        template=np.concatenate([bins * config.templates + number, phase]),
        turn=turn,
        star=np.arange(n) >= galaxies,
        flux=np.concatenate([scale, np.array(star_flux).reshape(stars, len(config.bands))]),
        magnitude=np.concatenate([magnitude, star_magnitude]),
    )


def _turned_offset(template: Template, turn: int) -> tuple[float, float]:
    x = -template.x if turn & 1 else template.x
    y = -template.y if turn & 2 else template.y
    return (y, x) if turn & 4 else (x, y)


def _galaxy(rng: Generator, config: SkyConfig, magnitude: float) -> Light:
    population, bands = config.population, config.bands
    if magnitude > population.galaxies.central_magnitude[1]:
        make = elliptical if rng.random() < population.galaxies.red_share else disc
        return Light((make(rng, population, magnitude, bands),))
    names = list(population.galaxies.morphologies)
    weights = np.array([population.galaxies.morphologies[name] for name in names])
    name = str(rng.choice(names, p=weights / weights.sum()))
    if name == "elliptical":
        return Light((elliptical(rng, population, magnitude, bands),))
    light = NEGATIVES[name](rng, population, bands)
    band = bands.index("r") if "r" in bands else 0
    return light.brighter(float(flux_of(magnitude) / light.flux(band)))


def _rendered(
    rng: Generator, lights: list[Light], config: SkyConfig, psf: Psf, sigma: Float64, side: float
) -> list[Template]:
    grid = _grid(config, side)
    half = config.pixel_scale / 2
    offsets = rng.uniform(-half, half, (len(lights), 2))
    moved = [light.moved(*offset) for light, offset in zip(lights, offsets, strict=True)]
    stamps = _convolved(moved, grid, psf, _FAINTEST * float(sigma.min()) / grid.oversampling**2)
    return [
        Template(_cropped(stamp, sigma), *(offset / config.pixel_scale))
        for stamp, offset in zip(stamps, offsets, strict=True)
    ]


def _cropped(stamp: Float32, sigma: Float64) -> Float32:
    """The square about the middle outside of which all light is negligible."""
    middle = stamp.shape[-1] // 2
    bright = (stamp > _FAINTEST * sigma[:, None, None]).any(axis=0)
    rows, columns = np.nonzero(bright)
    reach = max(2, int(np.abs(rows - middle).max(initial=0)), int(np.abs(columns - middle).max(initial=0)))
    return np.ascontiguousarray(stamp[:, middle - reach : middle + reach + 1, middle - reach : middle + reach + 1])


def _grid(config: SkyConfig, side: float) -> Grid:
    size = 2 * int(side / config.pixel_scale / 2) + 1
    margin = int(np.ceil(config.rendering.margin / config.pixel_scale))
    return Grid(size, config.pixel_scale, config.rendering.oversampling, margin)


def _convolved(lights: list[Light], grid: Grid, psf: Psf, faintest: float, batch: int = 16) -> Float32:
    bands = len(psf.fwhm)
    with single_thread():
        transfers = transfer([psf], [grid])
        parts = []
        for first in range(0, len(lights), batch):
            fine = np.stack([draw(light, grid, bands, faintest) for light in lights[first : first + batch]])
            parts.append(convolved(fine, transfers, grid))
    return np.concatenate(parts)
