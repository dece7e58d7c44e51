"""Smooth light is no detector's edge: tilted and curved sky, envelopes, wings; edges on top of such light are."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.flags import FATAL, FOUND_SHIFT, PixelFlag
from pipeline.scan.masks import find
from pipeline.scan.masks_steps import step_differences
from pipeline.scan_config import MasksConfig

SIDE = 700
YY, XX = np.mgrid[:SIDE, :SIDE].astype(np.float64)
EDGES = PixelFlag.CHIP_GAP | PixelFlag.SEAM


def found(field_image) -> np.ndarray:
    """Found flags of the first band, (y, x)."""
    return find(field_image, MasksConfig(), 100).found.rows(0, field_image.shape[0])[0] >> FOUND_SHIFT


def has(flags: np.ndarray, flag: PixelFlag) -> np.ndarray:
    return (flags & np.uint32(flag)) != 0


def de_vaucouleurs(radius: np.ndarray, effective: float, brightness: float) -> np.ndarray:
    return brightness * np.exp(-7.67 * ((np.maximum(radius, 1.0) / effective) ** 0.25 - 1))


SMOOTH = {
    "a tilt of 0.02 sigma a pixel": 0.02 * XX,
    "a tilt of 0.05 sigma a pixel": 0.05 * XX,
    "a tilt of 0.1 sigma a pixel along y": 0.1 * YY,
    "a bowl of 15 sigma": 15 * ((XX - 350) ** 2 + (YY - 350) ** 2) / 245000,
    "waves of 300 pixels": np.sin(2 * np.pi * XX / 300),
    "an elliptical galaxy": de_vaucouleurs(np.hypot(YY - 350, (XX - 350) / 0.8), 60, 15),
    "a round galaxy behind a corner of cells": de_vaucouleurs(np.hypot(YY - 280, XX - 280), 100, 5),
    "a star on a corner of cells": np.minimum(1e6 / (1 + ((XX - 350) ** 2 + (YY - 350) ** 2) / 64) ** 1.5, 6000),
    "the wings of a star": np.minimum(1e5 / (1 + ((XX - 350) ** 2 + (YY - 350) ** 2) / 16) ** 1.5, 6000),
    "the wings of a star outside": 1e5 / (1 + ((XX - 350) ** 2 + (YY + 60) ** 2) / 16) ** 1.25,
}


@pytest.mark.parametrize("light", SMOOTH.values(), ids=SMOOTH)
def test_smooth_light_is_no_detector_edge(make_sky, make_field, light):
    image, _ = make_sky(bands=1, shape=(SIDE, SIDE), sources=120)
    flags = found(make_field((image + light).astype(np.float32)))
    assert not has(flags, FATAL & ~(PixelFlag.SATURATED | PixelFlag.BLEED)).any()
    assert has(flags, PixelFlag.SEAM).mean() < 0.003


@pytest.mark.parametrize("tilt", [-0.1, -0.02, 0.02, 0.05, 0.1])
@pytest.mark.parametrize("upright", [True, False])
def test_a_step_of_a_few_tenths_of_sigma_is_found_on_tilted_sky(make_sky, make_field, tilt, upright):
    image, _ = make_sky(bands=1, shape=(SIDE, SIDE), sources=120)
    light = tilt * (XX + 0.5 * YY) + 0.4 * (XX >= 311)
    image[0] += light if upright else light.T
    flags = found(make_field(image.astype(np.float32)))
    flags = flags if upright else flags.T
    assert has(flags, PixelFlag.CHIP_GAP)[:, 310:312].mean() > 0.95
    assert not has(flags, EDGES)[:, :300].any()
    assert not has(flags, EDGES)[:, 322:].any()


def test_a_step_through_the_envelope_of_a_galaxy_is_found(make_sky, make_field):
    image, _ = make_sky(bands=1, shape=(SIDE, SIDE), sources=120)
    image[0] += SMOOTH["an elliptical galaxy"] + 0.6 * (XX >= 450)
    edge = has(found(make_field(image.astype(np.float32))), PixelFlag.CHIP_GAP)
    assert edge[:, 449:451].mean() > 0.95
    assert not edge[:, :430].any()


def test_uneven_sky_has_not_less_exposure(make_sky, make_field):
    image, _ = make_sky(bands=1, shape=(SIDE, SIDE), sources=120)
    image[0] += 0.1 * np.maximum(XX - 500, 0)
    assert not has(found(make_field(image.astype(np.float32))), PixelFlag.LOW_EXPOSURE).any()


def lines(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return values[None].astype(np.float32), np.full((1, len(values)), 0.1, np.float32)


def test_a_slope_is_no_step_and_neither_is_its_beginning():
    x = np.arange(100.0)
    for light in (0.3 * x, 0.3 * np.maximum(x - 50, 0)):
        found = step_differences(*lines(light), 4)
        # Where it begins, the windows' means differ by half of what one more window of it adds.
        assert np.abs(found.step).max() < 0.5 * 0.3 * 4 + 1e-4
    found = step_differences(*lines(0.3 * x), 4)
    assert np.allclose(found.step, 0, atol=1e-4)
    assert np.allclose(found.bend, 0, atol=1e-4)
    assert np.allclose(found.slope[0, 4:97], 0.3 * 4, atol=1e-4)


def test_a_bowl_bends_all_the_way_and_has_no_step():
    found = step_differences(*lines(0.05 * np.arange(100.0) ** 2), 4)
    # The difference grows by 0.1 * 4 * 4 a window; at -3, -2, -1, 1, 2, 3 windows any four neighbours span four.
    assert np.allclose(found.step[0, 20:80], 0, atol=1e-3)
    assert np.allclose(found.bend[0, 20:80], 4 * 1.6, atol=1e-3)


def test_a_step_on_a_slope_is_itself_and_throws_no_shadow():
    x = np.arange(120.0)
    found = step_differences(*lines(-0.3 * x + 2.0 * (x >= 60)), 4)
    assert found.step[0, 60] == pytest.approx(2.0, abs=1e-4)
    assert np.abs(np.delete(found.step[0], range(57, 64))).max() < 1e-4
    assert found.bend.max() < 1e-4
    # 0.1 * sqrt(2 / 4) for the windows, and half as much again in variance for six lines that tell of the slope.
    assert found.significance[0, 60] == pytest.approx(2.0 / (0.1 * np.sqrt(0.5 * 1.5)), rel=1e-3)


def test_a_step_at_the_border_of_the_data_is_told_by_the_lines_of_one_side():
    x = np.arange(60.0)
    values = 0.3 * x + 2.0 * (x >= 6)
    found = step_differences(*lines(values), 4)
    assert found.step[0, 6] == pytest.approx(2.0, abs=1e-4)
    assert found.significance[0, 6] == pytest.approx(2.0 / (0.1 * np.sqrt(0.5 * 2)), rel=1e-3)


def test_where_no_line_around_tells_of_the_slope_there_is_no_step():
    values = np.full(60, np.nan)
    values[20:28] = [0, 0, 0, 0, 2, 2, 2, 2]
    found = step_differences(*lines(values), 4)
    for plane in (found.step, found.significance, found.slope, found.bend):
        assert not plane.any()
