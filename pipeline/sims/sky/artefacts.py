"""A field's artefacts, drawn so that clear lenses can still be found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from pipeline.flags import PixelFlag, fatal
from pipeline.sims.artefacts.draw import Scene, draw_artefacts
from pipeline.sims.artefacts.kinds import put_all
from pipeline.sims.artefacts.window import Artefact, Window
from pipeline.sims.sky.fields import Field, Sky

_SPARED = 10
"""Pixels around a clear lens that no fatal artefact touches, so that it can be found at all."""
_TRIES = 50


def field_artefacts(sky: Sky, field: Field) -> list[Artefact]:
    """Stars that reach into the field, and its own artefacts, in the field's pixels."""
    rng = np.random.default_rng([sky.seed, 5, field.number])
    x0, y0 = field.origin
    size = sky.config.layout.size
    artefacts: list[Artefact] = []
    for star in sky.stars:
        moved = replace(star, x=star.x - x0, y=star.y - y0)
        reach = max(6 * star.spike_length, 1.4 * star.halo_radius, 100.0)
        if -reach < moved.x < size + reach and -reach < moved.y < size + reach:
            artefacts.append(moved)
    for name, count in sky.config.artefacts.items():
        if name != "star":
            for _ in range(count):
                artefacts.extend(spared_artefacts(sky, name, (size, size), field.origin, rng))
    return artefacts


def spared_artefacts(
    sky: Sky, name: str, shape: tuple[int, int], origin: tuple[int, int], rng: Generator
) -> list[Artefact]:
    """Draw artefacts of a class, again while one would make a clear lens unfindable."""
    config = sky.config
    scene = Scene(shape, config.bands, config.pixel_scale, sky.sigma, sky.psf.fwhm, sky.psf.beta, 0.0)
    near = [
        (lens.column - origin[0], lens.row - origin[1])
        for lens in sky.lenses
        if lens.clear
        and -_SPARED < lens.column - origin[0] < shape[1] + _SPARED
        and -_SPARED < lens.row - origin[1] < shape[0] + _SPARED
    ]
    drawn: list[Artefact] = []
    for _ in range(_TRIES):
        drawn = draw_artefacts(rng, name, config.population, scene)
        if not any(_touches(sky, drawn, place) for place in near):
            break
    return drawn


def _touches(sky: Sky, artefacts: list[Artefact], place: tuple[int, int]) -> bool:
    side = 2 * _SPARED + 1
    shape = (len(sky.sigma), side, side)
    image, mask = np.zeros(shape, np.float32), np.zeros(shape, np.uint32)
    truth_sigma = sky.config.population.artefacts.truth_sigma
    corner = (place[0] - _SPARED, place[1] - _SPARED)
    window = Window(image, np.ones(shape, np.float32), mask, sky.sigma, sky.level, *corner, truth_sigma)
    put_all(artefacts, window, np.random.default_rng(0))
    return bool(fatal(mask).any() or (mask & np.uint32(PixelFlag.BRIGHT_OBJECT)).any())
