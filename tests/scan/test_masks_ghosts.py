"""Ghosts, halos and spikes drawn by hand, and galaxies that are none of them."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.flags import FOUND_SHIFT, PixelFlag
from pipeline.scan.masks import find
from pipeline.scan_config import MasksConfig

OFF = dict.fromkeys(
    ("gaps", "steps", "saturation", "trails", "cosmic_rays", "bad_columns", "seams", "bright_stars", "ghosts"), False
)


def flagged(field_image, flag: PixelFlag, *finders: str, memory: float = 100) -> np.ndarray:
    """Where `flag` is found with the named finders alone, (band, y, x)."""
    config = MasksConfig(**{**OFF, "low_exposure_fraction": 0.0, **dict.fromkeys(finders, True)})
    rows = find(field_image, config, memory).found.rows(0, field_image.shape[0])
    return (rows >> FOUND_SHIFT & np.uint32(flag)) != 0


def distance(shape: tuple[int, ...], x: float, y: float) -> np.ndarray:
    yy, xx = np.mgrid[: shape[-2], : shape[-1]]
    return np.hypot(xx - x, yy - y)


def test_a_disc_of_even_light_is_a_ghost_to_its_edge(make_sky, make_field):
    image, _ = make_sky(bands=2)
    r = distance(image.shape, 260, 190)
    image[:, r < 60] += 1.5
    ghost = flagged(make_field(image), PixelFlag.GHOST, "ghosts")
    assert ghost[:, r < 58].mean() > 0.99
    assert not ghost[:, r > 70].any()


def test_the_sky_in_the_hole_of_a_ring_is_no_ghost(make_sky, make_field):
    image, _ = make_sky(bands=2)
    r = distance(image.shape, 260, 190)
    image[:, (r < 80) & (r > 40)] += 2.0
    ghost = flagged(make_field(image), PixelFlag.GHOST, "ghosts")
    assert ghost[:, (r < 78) & (r > 42)].mean() > 0.99
    assert not ghost[:, r < 25].any()


@pytest.mark.parametrize(("x", "y"), [(0, 200), (499, 150), (250, 399)])
def test_a_ghost_half_off_the_field_is_found(make_sky, make_field, x, y):
    image, _ = make_sky(bands=2)
    r = distance(image.shape, x, y)
    image[:, r < 70] += 1.5
    ghost = flagged(make_field(image), PixelFlag.GHOST, "ghosts")
    assert ghost[:, r < 66].mean() > 0.95
    assert not ghost[:, r > 90].any()


def test_a_ghost_of_one_band_is_flagged_in_it_alone(make_sky, make_field):
    image, _ = make_sky(bands=3)
    r = distance(image.shape, 260, 190)
    image[1, r < 60] += 1.5
    ghost = flagged(make_field(image), PixelFlag.GHOST, "ghosts")
    assert ghost[1, r < 55].mean() > 0.99
    assert not ghost[[0, 2]].any()


@pytest.mark.parametrize("index", [1.0, 4.0])
def test_an_elliptical_galaxy_is_no_ghost(make_sky, make_field, index):
    image, _ = make_sky(bands=2)
    yy, xx = np.mgrid[:400, :500]
    radius = np.hypot(xx - 260, (yy - 190) / 0.8) / 30.0
    image += (8 * np.exp(-(2 * index - 0.33) * (radius ** (1 / index) - 1))).astype(np.float32)
    assert not flagged(make_field(image), PixelFlag.GHOST, "ghosts").any()


def test_a_step_of_the_background_is_no_ghost(make_sky, make_field):
    image, _ = make_sky(bands=2)
    image[0, :, 220:] += 1.0
    image[1, 150:] += 1.0
    assert not flagged(make_field(image), PixelFlag.GHOST, "ghosts", "steps").any()


def star(image: np.ndarray, x: float, y: float, make_gaussian) -> np.ndarray:
    """Put a saturated star with an even halo of 50 pixels into an image; the distance from it."""
    r = distance(image.shape, x, y)
    image += np.minimum(make_gaussian(image.shape[-2:], x, y, 5e7, 5.0), 3e4).astype(np.float32)
    image[:, r < 50] += 2.0
    return r


@pytest.mark.parametrize(("x", "y"), [(250, 200), (6, 5), (490, 200)])
def test_the_halo_of_a_star_reaches_to_its_edge_and_is_no_ghost(make_sky, make_field, make_gaussian, x, y):
    image, _ = make_sky(bands=2, sources=30)
    r = star(image, x, y, make_gaussian)
    field = make_field(image)
    halo = flagged(field, PixelFlag.HALO, "saturation", "bright_stars", "ghosts")
    assert halo[:, r < 49].all()
    assert not halo[:, (r > 62) & (r < 100)].any()
    assert not flagged(field, PixelFlag.GHOST, "saturation", "bright_stars", "ghosts").any()


@pytest.mark.parametrize("angle", [0.0, 30.0, 45.0])
def test_the_cross_of_spikes_of_a_star_is_found_whatever_its_angle(make_sky, make_field, make_gaussian, angle):
    image, _ = make_sky(bands=1, sources=30)
    star(image, 250, 200, make_gaussian)
    yy, xx = np.mgrid[:400, :500]
    spikes = np.zeros(image.shape[1:])
    for turn in (angle, angle + 90):
        cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        along, across = (xx - 250) * cosine + (yy - 200) * sine, (yy - 200) * cosine - (xx - 250) * sine
        spikes += 20 * np.exp(-np.abs(along) / 25 - 0.5 * (across / 1.8) ** 2)
    image[0] += spikes
    found = flagged(make_field(image), PixelFlag.SPIKE, "saturation", "bright_stars")[0]
    assert found[spikes > 1].mean() > 0.9
    assert not found[distance(image.shape, 250, 200) > 150].any()


def test_a_star_without_spikes_has_none(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=1, sources=60)
    star(image, 250, 200, make_gaussian)
    assert not flagged(make_field(image), PixelFlag.SPIKE, "saturation", "bright_stars").any()


def test_a_sharp_bright_star_below_saturation_is_a_star_and_a_galaxy_as_bright_is_not(
    make_sky, make_field, make_gaussian
):
    image, _ = make_sky(bands=1, sources=30)
    image[0] += make_gaussian(image.shape[1:], 120, 100, 4e4, 3.5)
    image[0] += make_gaussian(image.shape[1:], 350, 280, 2.5e5, 12.0)
    light = flagged(make_field(image), PixelFlag.BRIGHT_OBJECT, "bright_stars")[0]
    assert light[distance(image.shape, 120, 100) < 5].all()
    assert not light[200:, 250:].any()


def test_ghosts_and_halos_do_not_depend_on_the_memory(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=2, shape=(600, 300), seed=5)
    star(image, 200, 450, make_gaussian)
    image[:, distance(image.shape, 120, 180) < 60] += 1.5
    field = make_field(image)
    for flag in (PixelFlag.GHOST, PixelFlag.HALO):
        whole = flagged(field, flag, "saturation", "bright_stars", "ghosts")
        assert whole.any()
        parts = flagged(field, flag, "saturation", "bright_stars", "ghosts", memory=0.1)
        np.testing.assert_array_equal(whole, parts)
