"""A lens of the kind that the fits know, made by the simulations' own renderer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.lensfit.config import FitConfig, load_fit
from pipeline.lensfit.observation import Float64, Observation, observe
from pipeline.sims.render.image import Psf, convolved, render, single_thread, transfer
from pipeline.sims.render.lensing import LensedSource, lensed
from pipeline.sims.render.light import Grid, Light, Sersic
from pipeline.sims.render.mass import Deflector

ONE = np.array([1.0])
SIZE, SCALE, SEEING, SIGMA = 28, 0.3, 0.7, 20.0
TRUE = {"theta_E": 1.4, "source_x": 0.2, "source_y": -0.15, "lens_x": 0.05, "lens_y": -0.08}
DEFLECTOR = Deflector(0.05, -0.08, 1.4, 0.75, 0.6, 0.03, -0.02)
GALAXY = Sersic(0.05, -0.08, 0.9, 3.0, 0.8, 0.7, ONE)
SOURCE = Sersic(0.25, -0.23, 0.3, 1.0, 0.7, 1.2, ONE)


@dataclass(frozen=True)
class Simulated:
    """Deflector and lensed source of unit flux (1, y, x), and vectors' physical values of the same lens."""

    galaxy: Float64
    arc: Float64
    physical: Float64


def ellipticity(q: float, angle: float) -> tuple[float, float]:
    return (1 - q) / (1 + q) * np.cos(2 * angle), (1 - q) / (1 + q) * np.sin(2 * angle)


def simulated(oversampling: int = 2) -> Simulated:
    grid = Grid(SIZE, SCALE, oversampling, 4)
    with single_thread():
        transfers = transfer([Psf(np.array([SEEING]), 3.5)], [grid])
        arc = convolved(lensed([LensedSource(DEFLECTOR, (SOURCE,))], [grid])[:, None], transfers, grid)[0]
        galaxy = render([Light((GALAXY,))], [grid], transfers, 1, np.array([1e-12]))[0]
    mass = (1.4, *ellipticity(0.75, 0.6), 0.03, -0.02, 0.2, -0.15, 0.05, -0.08)
    light = (0.3, 1.0, *ellipticity(0.7, 1.2), 0.9, 3.0, *ellipticity(0.8, 0.7))
    physical = np.array([*mass, *light])
    return Simulated(galaxy.astype(np.float64), arc.astype(np.float64), physical)


def observed(seed: int = 1, arc_snr: float = 80.0) -> Observation:
    """A noisy stamp: a deflector of 15,000 nJy, and an arc of a given S/N."""
    made = simulated()
    flux = arc_snr * SIGMA / np.sqrt((made.arc**2).sum())
    noise = np.random.default_rng(seed).normal(0, SIGMA, made.arc.shape)
    image = 15000 * made.galaxy + flux * made.arc + noise
    return observe(image, np.full(image.shape, SIGMA**-2), None, bands=("r",), pixel_scale=SCALE, seeing=[SEEING])


def quick() -> FitConfig:
    """The shipped config with as little work as a test needs."""
    config = load_fit()
    return config.model_copy(
        update={
            "map": config.map.model_copy(update={"starts": 2, "screened": 60, "steps": 30, "tolerance": 0.1}),
            "sampling": config.sampling.model_copy(
                update={"chains": 2, "warmup": 30, "draws": 100, "most_doublings": 3, "effective_draws": 1000}
            ),
        }
    )


def near_truth(count: int = 20, seed: int = 3) -> Float64:
    """What a network might answer: samples (count, 9) about the truth."""
    scatter = np.array([0.1, 0.05, 0.05, 0.03, 0.03, 0.05, 0.05, 0.03, 0.03])
    return simulated().physical[:9] + scatter * np.random.default_rng(seed).standard_normal((count, 9))
