"""The kinds of negatives by name."""

from __future__ import annotations

from collections.abc import Callable

from numpy.random import Generator

from pipeline.sims.config.population import Population
from pipeline.sims.negatives.galaxies import (
    draw_blue_disc,
    draw_clumpy,
    draw_companion,
    draw_edge_on,
    draw_elliptical,
    draw_merger,
    draw_ring,
    draw_spiral,
)
from pipeline.sims.negatives.groups import (
    draw_bright_core,
    draw_compact_group,
    draw_empty,
    draw_faint_field,
    draw_group,
    draw_red_blend,
)
from pipeline.sims.negatives.parts import Bands
from pipeline.sims.negatives.stars import draw_blue_point, draw_star, draw_star_galaxy, draw_star_pair
from pipeline.sims.render.light import Light

NEGATIVES: dict[str, Callable[[Generator, Population, Bands], Light]] = {
    "elliptical": draw_elliptical,
    "spiral": draw_spiral,
    "clumpy": draw_clumpy,
    "ring": draw_ring,
    "companion": draw_companion,
    "edge_on": draw_edge_on,
    "merger": draw_merger,
    "star": draw_star,
    "star_pair": draw_star_pair,
    "group": draw_group,
    "empty": draw_empty,
    "blue_disc": draw_blue_disc,
    "red_blend": draw_red_blend,
    "compact_group": draw_compact_group,
    "bright_core": draw_bright_core,
    "star_galaxy": draw_star_galaxy,
    "blue_point": draw_blue_point,
    "faint_field": draw_faint_field,
}
"""Kind -> function (rng, population, bands) that draws the light in the middle of a stamp."""
