"""Draws of artefacts: where they lie in an image and how strong they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from pipeline.sims.artefacts.kinds import BadColumn, CosmicRay, Gap, Ghost, Seam, Trail
from pipeline.sims.artefacts.star import BrightStar
from pipeline.sims.artefacts.window import Artefact
from pipeline.sims.config.population import Population
from pipeline.sims.population.galaxies import counted_magnitude, star_colours
from pipeline.sims.render.light import Float64
from pipeline.sims.render.photometry import flux_of, fluxes


@dataclass(frozen=True)
class Scene:
    """The image that artefacts are drawn for.

    Attributes
    ----------
    shape : (ny, nx)
    bands : names
    scale : arcsec a pixel
    sigma : float64 (band,), nJy
    fwhm : float64 (band,), arcsec
    beta : float
    reach : float
        How far outside the image centres of stars and ghosts may lie, in pixels.
    """

    shape: tuple[int, int]
    bands: tuple[str, ...]
    scale: float
    sigma: Float64
    fwhm: Float64
    beta: float
    reach: float

    def place(self, rng: Generator, margin: float = 0.0) -> tuple[float, float]:
        """A uniform position (x, y) in the image and `margin` pixels around it."""
        ny, nx = self.shape
        return rng.uniform(-margin, nx + margin), rng.uniform(-margin, ny + margin)


def draw_artefacts(rng: Generator, name: str, population: Population, scene: Scene) -> list[Artefact]:
    """Artefacts of one class; one of them, or a handful of cosmic rays."""
    return _DRAWS[name](rng, population, scene)


def saturation_levels(population: Population, scene: Scene) -> tuple[float, ...]:
    """Pixel value in nJy of each band at which a star of the population's saturation magnitude is cut off."""
    alpha = scene.fwhm / scene.scale / (2 * np.sqrt(2 ** (1 / scene.beta) - 1))
    peak = flux_of(population.artefacts.saturation) * (scene.beta - 1) / (np.pi * alpha**2)
    return tuple(float(value) for value in peak)


def bright_star(
    rng: Generator, population: Population, scene: Scene, at: tuple[float, float], magnitude: float
) -> BrightStar:
    """A star of r magnitude with everything that its brightness brings along."""
    shapes = population.artefacts
    flux = fluxes(magnitude, star_colours(rng, population.stars), scene.bands)
    over = max(0.0, shapes.saturation - magnitude)
    return BrightStar(
        at[0],
        at[1],
        tuple(flux),
        tuple(scene.fwhm / scene.scale),
        scene.beta,
        saturation_levels(population, scene),
        spike_flux=tuple(flux * shapes.spike_share * rng.uniform(*shapes.star_light_scatter)) if over else (),
        spike_length=max(1.0, shapes.spike_length_per_magnitude * over / scene.scale / shapes.spike_folds),
        spike_width=shapes.spike_width / scene.scale,
        spike_angle=rng.choice([0.0, np.pi / 4, rng.uniform(0, np.pi / 2)]),
        halo_flux=(
            tuple(flux * shapes.halo_share * rng.uniform(*shapes.star_light_scatter)) if over > shapes.halo_from else ()
        ),
        halo_radius=max(3.0, shapes.halo_radius_per_magnitude * over / scene.scale),
        bleed_length=shapes.bleed_length_per_magnitude * over / scene.scale * rng.uniform(*shapes.bleed_length_scatter),
        bleed_width=rng.uniform(*shapes.bleed_width) / scene.scale,
        bleed_level=shapes.bleed_level,
    )


def _gap(rng: Generator, population: Population, scene: Scene) -> list[Artefact]:
    ny, nx = scene.shape
    x, y = scene.place(rng)
    width = rng.uniform(*population.artefacts.gap_width) / scene.scale
    every = tuple(range(len(scene.bands)))
    bands = every if rng.random() < population.artefacts.gap_in_all_bands else (int(rng.choice(every)),)
    if rng.random() < population.artefacts.gap_along_columns:
        return [Gap(x - width / 2, x + width / 2, 0, ny, bands)]
    return [Gap(0, nx, y - width / 2, y + width / 2, bands)]


def _star(rng: Generator, population: Population, scene: Scene) -> list[Artefact]:
    shapes = population.artefacts
    magnitude = float(counted_magnitude(rng, shapes.star_magnitude, population.stars.count_slope, 1)[0])
    return [bright_star(rng, population, scene, scene.place(rng, scene.reach), magnitude)]


def _trail(rng: Generator, population: Population, scene: Scene) -> list[Artefact]:
    shapes = population.artefacts
    every = tuple(range(len(scene.bands)))
    # A coadd keeps it in the one band whose exposure it crossed.
    bands = (int(rng.choice(every)),)
    level = np.exp(rng.uniform(*np.log(shapes.trail_sigma))) * scene.sigma[bands[0]]
    x, y = scene.place(rng)
    return [Trail(x, y, rng.uniform(0, np.pi), rng.uniform(*shapes.trail_width) / scene.scale, float(level), bands)]


def _cosmic_rays(rng: Generator, population: Population, scene: Scene) -> list[Artefact]:
    shapes = population.artefacts
    rays: list[Artefact] = []
    for _ in range(int(rng.integers(shapes.cosmic_rays[0], shapes.cosmic_rays[1] + 1))):
        band = int(rng.integers(len(scene.bands)))
        level = np.exp(rng.uniform(*np.log(shapes.cosmic_ray_sigma))) * scene.sigma[band]
        length = np.exp(rng.uniform(*np.log(shapes.cosmic_ray_length))) / scene.scale
        x, y = scene.place(rng)
        angle = rng.uniform(0, np.pi)
        rays.append(CosmicRay(x, y, angle, float(length), float(level), band, shapes.cosmic_ray_level))
    return rays


def _bad_column(rng: Generator, population: Population, scene: Scene) -> list[Artefact]:
    shapes = population.artefacts
    ny, _ = scene.shape
    band = int(rng.integers(len(scene.bands)))
    level = np.exp(rng.uniform(*np.log(shapes.column_sigma))) * scene.sigma[band]
    x, y = scene.place(rng)
    ends = (0.0, float(ny)) if rng.random() < shapes.column_whole else (y, float(ny))
    columns = range(int(rng.integers(shapes.columns[0], shapes.columns[1] + 1)))
    return [BadColumn(round(x) + column, *ends, float(level) * rng.choice([-1, 1]), band) for column in columns]


def _seam(rng: Generator, population: Population, scene: Scene) -> list[Artefact]:
    shapes = population.artefacts
    bands = (int(rng.integers(len(scene.bands))),)
    x, y = scene.place(rng)
    width = max(2.0, shapes.seam_width / scene.scale)
    noise = rng.uniform(*shapes.seam_noise)
    return [Seam(x, y, _straight(rng, shapes.detector_tilt), noise, 0.0, width, bands, shapes.low_exposure_noise)]


def _step(rng: Generator, population: Population, scene: Scene) -> list[Artefact]:
    shapes = population.artefacts
    bands = (int(rng.integers(len(scene.bands))),)
    step = rng.uniform(*shapes.step_sigma) * scene.sigma[bands[0]] * rng.choice([-1, 1])
    x, y = scene.place(rng)
    return [
        Seam(
            x,
            y,
            _straight(rng, shapes.detector_tilt),
            1.0,
            float(step),
            max(2.0, shapes.seam_width / scene.scale),
            bands,
        )
    ]


def _ghost(rng: Generator, population: Population, scene: Scene) -> list[Artefact]:
    shapes = population.artefacts
    outer = rng.uniform(*shapes.ghost_radius) / scene.scale
    level = rng.uniform(*shapes.ghost_sigma) * scene.sigma * rng.uniform(*shapes.ghost_band_scatter, len(scene.bands))
    x, y = scene.place(rng, 0.8 * outer)
    return [Ghost(x, y, outer * rng.uniform(*shapes.ghost_hole), outer, tuple(level))]


def _straight(rng: Generator, tilt: float) -> float:
    """Detectors lie along the rows and columns, give or take `tilt` degrees; radians."""
    return float(rng.integers(4) * np.pi / 2 + np.deg2rad(rng.normal(0, tilt)))


_DRAWS: dict[str, Callable[[Generator, Population, Scene], list[Artefact]]] = {
    "gap": _gap,
    "star": _star,
    "trail": _trail,
    "cosmic_ray": _cosmic_rays,
    "bad_column": _bad_column,
    "seam": _seam,
    "step": _step,
    "ghost": _ghost,
}
