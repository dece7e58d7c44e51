"""Galaxies that are not lenses: smooth, clumpy, ringed, on edge, in pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from pipeline.sims.config.population import Population
from pipeline.sims.negatives.parts import (
    Bands,
    central_magnitude,
    group_members,
    knots_in,
    number_of,
    on_ellipse,
    place_about,
    red_galaxy,
    whole_number,
)
from pipeline.sims.population.galaxies import (
    between,
    colours_of,
    disc,
    elliptical,
)
from pipeline.sims.render.light import Light, Ring, Sersic
from pipeline.sims.render.photometry import fluxes


def draw_elliptical(rng: Generator, population: Population, bands: Bands) -> Light:
    """A red galaxy with its group, as lenses have one."""
    magnitude, redshift = red_galaxy(rng, population)
    galaxy = elliptical(rng, population, magnitude, bands, redshift)
    return Light((galaxy, *group_members(rng, population, magnitude, redshift, bands)))


def draw_spiral(rng: Generator, population: Population, bands: Bands) -> Light:
    """A disc with two arms, knots along them, and a red bulge."""
    shape = population.negatives.spiral
    magnitude = central_magnitude(rng, population)
    body = disc(rng, population, magnitude, bands, stretch=shape.stretch)
    body = replace(
        body,
        n=shape.sersic,
        q=max(body.q, shape.least_axis_ratio),
        arms=rng.uniform(*shape.arms),
        pitch=np.deg2rad(rng.uniform(*shape.pitch)) * rng.choice([-1, 1]),
        phase=rng.uniform(0, 2 * np.pi),
    )
    bulge = elliptical(rng, population, magnitude + rng.uniform(*shape.bulge_contrast), bands)
    knots = knots_in(rng, population, body, whole_number(rng, shape.knots), bands, shape.knot_strength)
    return Light((body, replace(bulge, radius=min(bulge.radius, shape.bulge_radius * body.radius)), *knots))


def draw_clumpy(rng: Generator, population: Population, bands: Bands) -> Light:
    """A blue disc with bright clumps, some of them on an arc about the middle."""
    shape = population.negatives.clumpy
    magnitude = central_magnitude(rng, population)
    body = disc(rng, population, magnitude, bands, stretch=rng.uniform(*shape.stretch))
    return Light((body, *knots_in(rng, population, body, whole_number(rng, shape.knots), bands, shape.knot_strength)))


def draw_blue_disc(rng: Generator, population: Population, bands: Bands) -> Light:
    """A blue disc, smooth or with a few knots, at times lopsided."""
    shape = population.negatives.blue_disc
    magnitude = central_magnitude(rng, population)
    colours = colours_of(rng, shape.colours)
    body = disc(rng, population, magnitude, bands, stretch=rng.uniform(*shape.stretch))
    body = replace(body, flux=fluxes(magnitude, colours, bands))
    parts = [body, *knots_in(rng, population, body, whole_number(rng, shape.knots), bands, shape.knot_strength)]
    if rng.random() < shape.lopsided_share:
        distance, angle = body.radius * rng.uniform(*shape.lopsided_distance), rng.uniform(0, 2 * np.pi)
        at = (distance * np.cos(angle), distance * np.sin(angle))
        own = magnitude + rng.uniform(*shape.lopsided_contrast)
        parts.append(replace(disc(rng, population, own, bands, at), flux=fluxes(own, colours, bands)))
    return Light(tuple(parts))


def draw_ring(rng: Generator, population: Population, bands: Bands) -> Light:
    """A ring galaxy: a core and a bluer, knotty ring about it, in one plane."""
    shape = population.negatives.ring
    magnitude, redshift = red_galaxy(rng, population)
    core = elliptical(rng, population, magnitude, bands, redshift)
    radius = between(rng, population.galaxies.ring_radius)
    q, angle = rng.uniform(*shape.axis_ratio), rng.uniform(0, np.pi)
    colours = colours_of(rng, population.galaxies.blue)
    own = magnitude + rng.uniform(*shape.contrast)
    width, brightest = radius * rng.uniform(*shape.width), rng.uniform(0, 2 * np.pi)
    ring = Ring(
        0, 0, radius, width, q, angle, brightest, rng.exponential(shape.unevenness), fluxes(own, colours, bands)
    )
    knots = []
    for _ in range(whole_number(rng, shape.knots)):
        at = on_ellipse(radius, q, angle, rng.uniform(0, 2 * np.pi))
        flux = fluxes(own + rng.uniform(*shape.knot_contrast), colours, bands)
        size, knot_q = rng.uniform(*shape.knot_radius), rng.uniform(*population.negatives.knots.axis_ratio)
        knots.append(Sersic(at[0], at[1], size, population.negatives.knots.sersic, knot_q, rng.uniform(0, np.pi), flux))
    core_q = max(q, core.q * shape.core_flattening)
    core = replace(core, radius=min(core.radius, shape.core_radius * radius), q=core_q, angle=angle)
    return Light((core, *knots), (ring,))


def draw_companion(rng: Generator, population: Population, bands: Bands) -> Light:
    """A red galaxy with one to three blue ones where arcs would be, some drawn out along the tangent."""
    galaxies, shape = population.galaxies, population.negatives.companion
    magnitude, redshift = red_galaxy(rng, population)
    red = elliptical(rng, population, magnitude, bands, redshift)
    companions = []
    for _ in range(number_of(rng, shape.numbers)):
        distance, angle = between(rng, galaxies.companion_distance), rng.uniform(0, 2 * np.pi)
        at = (distance * np.cos(angle), distance * np.sin(angle))
        own = magnitude + between(rng, galaxies.companion_contrast)
        blue = disc(rng, population, own, bands, at)
        if rng.random() < shape.drawn_out_share:
            tangent = angle + np.pi / 2 + np.deg2rad(rng.normal(0, shape.tangent_scatter))
            blue = replace(blue, angle=tangent, q=rng.uniform(*shape.drawn_out_axis_ratio))
        like_source = rng.random() < shape.source_colour_share
        colours = colours_of(rng, population.lenses.blue_source if like_source else galaxies.blue)
        companions.append(replace(blue, flux=fluxes(own, colours, bands)))
        if rng.random() < shape.knots_share:
            knots = knots_in(rng, population, blue, whole_number(rng, shape.knots), bands, shape.knot_strength)
            companions.extend(knots)
    return Light((red, *group_members(rng, population, magnitude, redshift, bands), *companions))


def draw_edge_on(rng: Generator, population: Population, bands: Bands) -> Light:
    """A disc seen from its side, with a bulge."""
    shape = population.negatives.edge_on
    magnitude = central_magnitude(rng, population)
    body = disc(rng, population, magnitude, bands, stretch=shape.stretch)
    body = replace(body, n=shape.sersic, q=rng.uniform(*shape.axis_ratio))
    bulge = elliptical(rng, population, magnitude + rng.uniform(*shape.bulge_contrast), bands)
    return Light((body, replace(bulge, radius=min(bulge.radius, shape.bulge_radius * body.radius), angle=body.angle)))


def draw_merger(rng: Generator, population: Population, bands: Bands) -> Light:
    """Two or three galaxies of like brightness in one another's light, sometimes with tidal tails."""
    shape = population.negatives.merger
    magnitude, _ = red_galaxy(rng, population)
    light = Light()
    for index in range(1 + number_of(rng, shape.numbers)):
        at = place_about(rng, shape.distance) if index else (0.0, 0.0)
        make = elliptical if rng.random() < shape.elliptical_share else disc
        own = magnitude + (rng.uniform(*shape.contrast) if index else 0.0)
        light += Light((make(rng, population, own, bands, at=at),))
    if rng.random() < shape.tail_share:
        radius = rng.uniform(*shape.tail_radius)
        direction = rng.uniform(0, 2 * np.pi)
        flux = fluxes(magnitude + rng.uniform(*shape.tail_contrast), colours_of(rng, population.galaxies.blue), bands)
        x, y = radius * np.cos(direction), radius * np.sin(direction)
        # Curved away from the pair: the circle's centre is outside it, and the tail begins in the galaxy.
        turn = np.deg2rad(shape.tail_turn)
        start = direction + np.pi + rng.uniform(-turn, turn)
        width, q, sharpness = (
            rng.uniform(*ends) for ends in (shape.tail_width, shape.tail_axis_ratio, shape.tail_sharpness)
        )
        light += Light((), (Ring(x, y, radius, width, q, 0.0, start, sharpness, flux),))
    return light
