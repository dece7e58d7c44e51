"""Lines drawn by hand: gaps, edges and seams that lean or begin somewhere, short trails."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.flags import FOUND_SHIFT, PixelFlag
from pipeline.scan.masks import find
from pipeline.scan_config import MasksConfig


def flagged(field_image, flag: PixelFlag, **changed: object) -> np.ndarray:
    """Where `flag` is found, (band, y, x)."""
    rows = find(field_image, MasksConfig(**changed), 100).found.rows(0, field_image.shape[0])
    return (rows >> FOUND_SHIFT & np.uint32(flag)) != 0


def test_a_gap_of_one_pixel_is_a_chip_gap(make_sky, make_field):
    image, _ = make_sky(bands=2)
    image[:, :, 230] = np.nan
    gap = flagged(make_field(image), PixelFlag.CHIP_GAP)
    assert gap[:, :, 230].all()
    assert gap.sum() == gap[:, :, 230].size


def test_a_field_that_is_nearly_all_gap_goes_through(make_sky, make_field):
    image, _ = make_sky(bands=2)
    image[:, :360] = np.nan
    image[1, :, 100:] = np.nan
    assert not flagged(make_field(image), PixelFlag.GHOST).any()


@pytest.mark.parametrize("degrees", [-1.2, 0.4, 1.2])
@pytest.mark.parametrize("upright", [True, False])
def test_a_leaning_step_is_followed(make_sky, make_field, degrees, upright):
    image, _ = make_sky(bands=2, shape=(600, 600))
    yy, xx = np.mgrid[:600, :600]
    beyond = xx - 300 - (yy - 300) * np.tan(np.radians(degrees))
    plane = image[1] if upright else image[1].T
    plane[beyond > 0] += 0.8
    edge = flagged(make_field(image), PixelFlag.CHIP_GAP)
    assert not edge[0].any()
    found = edge[1] if upright else edge[1].T
    assert found[np.abs(beyond) < 1].mean() > 0.95
    assert not found[np.abs(beyond) > 25].any()


def test_a_step_that_begins_in_the_middle_is_flagged_from_there(make_sky, make_field):
    image, _ = make_sky(bands=1, shape=(800, 600))
    image[0, 400:, 300:] += 0.8
    edge = flagged(make_field(image), PixelFlag.CHIP_GAP, ghosts=False)[0]
    assert edge[410:, 299:301].mean() > 0.9
    assert not edge[:280, 299:301].any()


@pytest.mark.parametrize("degrees", [0.0, 0.7])
def test_noise_that_grows_by_a_third_makes_a_seam_along_its_edge(make_field, degrees):
    random = np.random.default_rng(0)
    image = random.normal(size=(1, 600, 600)).astype(np.float32)
    yy, xx = np.mgrid[:600, :600]
    beyond = xx - 340 - (yy - 300) * np.tan(np.radians(degrees))
    image[0][beyond > 0] *= 1.33
    seam = flagged(make_field(image), PixelFlag.SEAM)[0]
    assert seam[np.abs(beyond) < 1.5].mean() > 0.95
    assert not seam[np.abs(beyond) > 15].any()


def test_noise_that_grows_slowly_is_no_seam(make_field):
    random = np.random.default_rng(0)
    image = random.normal(size=(1, 600, 600)).astype(np.float32) * np.linspace(1, 2, 600, dtype=np.float32)
    assert not flagged(make_field(image), PixelFlag.SEAM).any()


def across_and_along(shape: tuple[int, int], x: float, y: float, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (yy - y) * cosine - (xx - x) * sine, (xx - x) * cosine + (yy - y) * sine


def test_a_trail_at_45_degrees_across_a_corner_is_found_whole_and_no_wider(make_sky, make_field):
    image, _ = make_sky(bands=2, shape=(500, 600))
    across, _ = across_and_along((500, 600), 70, 70, 135.0)
    light = 10 * np.exp(-0.5 * (across / 2.0) ** 2)
    image[1] += light
    trail = flagged(make_field(image), PixelFlag.TRAIL)
    assert trail[1][light > 1].mean() > 0.97
    assert not trail[1][np.abs(across) > 10].any()
    assert not trail[0].any()


def test_a_line_of_35_arcsec_in_two_bands_is_an_object_and_in_one_a_trail(make_sky, make_field):
    image, _ = make_sky(bands=2, shape=(500, 600), sources=40)
    across, along = across_and_along((500, 600), 300, 250, 25.0)
    light = np.where(np.abs(along) < 60, 10 * np.exp(-0.5 * (across / 2.0) ** 2), 0.0)
    image[0] += light
    alone = flagged(make_field(image), PixelFlag.TRAIL)
    assert alone[0][light > 5].mean() > 0.9
    image[1] += light
    assert not flagged(make_field(image), PixelFlag.TRAIL).any()


def test_a_bad_column_is_no_trail(make_sky, make_field):
    image, _ = make_sky(bands=1, shape=(500, 600))
    image[0, :, 251:253] += 8
    assert not flagged(make_field(image), PixelFlag.TRAIL).any()
