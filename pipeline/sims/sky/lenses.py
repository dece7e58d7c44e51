"""Lenses planted in a synthetic sky, through the same renderer as the stamps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pipeline.errors import ConfigError
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.mass_truth import MassTruth, mass_truth
from pipeline.sims.population.lenses import draw_theta_e, lens_system
from pipeline.sims.render.image import Psf, convolved, render, single_thread, transfer
from pipeline.sims.render.lensing import lensed
from pipeline.sims.render.light import Float32, Float64, Grid
from pipeline.sims.render.visibility import scale_arc

_MOST_DRAWS = 500


@dataclass(frozen=True)
class PlantedLens:
    """A lens on the plane that the fields share.

    Attributes
    ----------
    x, y : float
        The deflector's centre in pixels of the plane.
    column, row : int
        The pixel that the stamp's middle goes on.
    light : float32 (band, s, s), nJy
        Deflector, its group, and arc.
    theta_E, arc_snr, arc_share, lens_mag, source_mag, red_source, clear
        As in `pipeline.sims.truth.Truth`; `clear` is whether the system is one of those above the config's limits.
    mass : MassTruth
        About the pixel that the stamp's middle goes on.
    """

    x: float
    y: float
    column: int
    row: int
    light: Float32
    theta_E: float
    arc_snr: float
    arc_share: float
    lens_mag: float
    source_mag: float
    red_source: bool
    clear: bool
    mass: MassTruth


def plant_lenses(config: SkyConfig, psf: Psf, sigma: Float64, shape: tuple[int, int], seed: int) -> list[PlantedLens]:
    """Draw and render the lenses of a sky.

    Parameters
    ----------
    config : SkyConfig
    psf : Psf
    sigma : float64 (band,), nJy
    shape : (ny, nx)
        Of the plane, in pixels; lenses stay half a stamp away from its edges and from one another.
    seed : int

    Raises
    ------
    ConfigError
        If so many lenses don't fit, or none of the population is clear enough.
    """
    rng = np.random.default_rng([seed, 3])
    places = _places(config, shape, rng)
    clear = np.arange(config.lenses) < round(config.lens_clear_share * config.lenses)
    return [
        _lens(config, psf, sigma, column, row, bool(is_clear), rng)
        for (column, row), is_clear in zip(places, clear, strict=True)
    ]


def _places(config: SkyConfig, shape: tuple[int, int], rng: Generator) -> list[tuple[int, int]]:
    apart = int(config.lens_stamp / config.pixel_scale / 2)
    places: list[tuple[int, int]] = []
    for _ in range(config.lenses):
        for _ in range(_MOST_DRAWS):
            column = int(rng.integers(apart, max(shape[1] - apart, apart + 1)))
            row = int(rng.integers(apart, max(shape[0] - apart, apart + 1)))
            if all(np.hypot(column - other[0], row - other[1]) > 2 * apart for other in places):
                break
        else:
            raise ConfigError(f"{config.lenses} lenses don't fit into {shape[1]} x {shape[0]} px; lower lenses.")
        places.append((column, row))
    return places


def _lens(
    config: SkyConfig, psf: Psf, sigma: Float64, column: int, row: int, clear: bool, rng: Generator
) -> PlantedLens:
    population, lenses = config.population, config.population.lenses
    size = 2 * int(config.lens_stamp / config.pixel_scale / 2) + 1
    margin = int(np.ceil(config.rendering.margin / config.pixel_scale))
    grid = Grid(size, config.pixel_scale, config.rendering.oversampling, margin)
    bands = len(config.bands)
    faintest = np.array([0.03 * sigma.min() / grid.oversampling**2])
    with single_thread():
        transfers = transfer([psf], [grid])
        for _ in range(_MOST_DRAWS):
            at = tuple(rng.uniform(-0.5, 0.5, 2) * config.pixel_scale)
            theta = draw_theta_e(rng, lenses)
            snr = float(np.exp(rng.uniform(*np.log(lenses.arc_snr if clear else lenses.faint_arc_snr))))
            if clear and (theta <= config.lens_clear_theta_E or snr <= config.lens_clear_snr):
                continue
            system = lens_system(rng, population, config.bands, at, theta)
            scene = render([system.light], [grid], transfers, bands, faintest)[0]
            unit = convolved(lensed([system.source], [grid])[:, None], transfers, grid)[0]
            scaled = scale_arc(unit, scene, system.colour, sigma, snr, lenses.visible_sigma, lenses.visible_contrast)
            if scaled.share >= (lenses.visible_share if clear else lenses.faint_visible_share):
                x, y = column + at[0] / config.pixel_scale, row + at[1] / config.pixel_scale
                stamp = scene + scaled.arc
                figures = (theta, snr, scaled.share, system.magnitude, scaled.source_mag, system.red, clear)
                return PlantedLens(x, y, column, row, stamp, *figures, mass_truth(system.source))
    raise ConfigError(
        f"no lens clear enough in {_MOST_DRAWS} draws: lower lens_clear_theta_E, lens_clear_snr or visible_share."
    )
