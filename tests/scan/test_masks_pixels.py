"""Cosmic rays, bad columns, saturation and seams of the weights, on cases made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.flags import FOUND_SHIFT, PixelFlag
from pipeline.scan.masks import find
from pipeline.scan.masks_profile import profile
from pipeline.scan.masks_saturation import clipped, saturation_levels
from pipeline.scan.masks_sharpness import UNDERSAMPLED, sharpness
from pipeline.scan.masks_weights import find_weight_seams
from pipeline.scan_config import MasksConfig

NONE = dict.fromkeys(
    ("gaps", "steps", "saturation", "trails", "cosmic_rays", "bad_columns", "seams", "bright_stars"), False
)


def found(field_image, flag: PixelFlag, *finders: str, memory: float = 100) -> np.ndarray:
    config = MasksConfig(**{**NONE, "low_exposure_fraction": 0.0, **dict.fromkeys(finders, True)})
    flags = find(field_image, config, memory).found.rows(0, field_image.shape[0]) >> FOUND_SHIFT
    return (flags & np.uint32(flag)) != 0


def rays(field_image, **options: float) -> np.ndarray:
    return found(field_image, PixelFlag.COSMIC_RAY, "cosmic_rays", "bad_columns", "saturation", **options)


def galaxy(shape: tuple[int, int], x: float, y: float, peak: float, scale: float) -> np.ndarray:
    """An exponential disc, its centre softened by a pixel."""
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    return peak * np.exp(-np.sqrt((xx - x) ** 2 + (yy - y) ** 2 + 1.0) / scale)


def test_a_ray_beside_a_star_is_found_and_the_star_is_not(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=1, sources=60)
    star = make_gaussian(image.shape[1:], 200, 150, 40000, 3.4)
    image[0] += star
    clean = rays(make_field(image))
    assert not clean.any()
    ray = [(140 + step, 206) for step in range(9)]
    for y, x in ray:
        image[0, y, x] += 60
    flags = rays(make_field(image))[0]
    assert all(flags[place] for place in ray)
    assert not flags[148:153, 198:203].any()
    assert flags.sum() <= 3 * 11


@pytest.mark.parametrize("fwhm", [1.6, 2.0, 2.5, 3.5, 6.0])
def test_star_cores_are_no_rays_however_bright_and_wherever_in_the_pixel_they_are(make_sky, make_field, fwhm):
    random = np.random.default_rng(8)
    image, _ = make_sky(bands=1, shape=(600, 600), sources=0)
    sigma = fwhm / 2.3548
    yy, xx = np.mgrid[-12:13, -12:13]
    for y in range(30, 580, 28):
        for x in range(30, 580, 28):
            dy, dx = random.uniform(-0.5, 0.5, 2)
            light = 10 ** random.uniform(0.5, 3.2) * np.exp(-((xx - dx) ** 2 + (yy - dy) ** 2) / (2 * sigma**2))
            image[0, y - 12 : y + 13, x - 12 : x + 13] += light + random.normal(size=light.shape) * np.sqrt(light / 20)
    assert not rays(make_field(image)).any()


def test_a_ray_that_is_two_pixels_wide_is_found_whole(make_sky, make_field):
    image, _ = make_sky(bands=1, sources=60)
    image[0, 200:212, 300:302] += 50
    flags = rays(make_field(image))[0]
    assert flags[200:212, 300:302].all()


def test_a_ray_across_a_galaxy_that_other_bands_show_too_is_found(make_sky, make_field):
    image, _ = make_sky(bands=3, sources=60)
    image += galaxy(image.shape[1:], 200, 150, 400, 6.0).astype(np.float32)
    before = rays(make_field(image))
    for step in range(7):
        image[1, 146 + step, 192 + step] += 150
    after = rays(make_field(image))
    assert not before.any()
    assert all(after[1, 146 + step, 192 + step] for step in range(7))
    assert not after[[0, 2]].any()


def test_a_point_that_every_band_shows_is_no_ray(make_sky, make_field):
    image, _ = make_sky(bands=3, sources=60)
    image[:, 100, 100] += 80
    assert not rays(make_field(image)).any()


@pytest.mark.parametrize(("row", "column"), [(0, slice(100, 108)), (slice(100, 108), 0), (399, slice(100, 108))])
def test_a_ray_along_the_border_is_found(make_sky, make_field, row, column):
    image, _ = make_sky(bands=1, sources=60)
    image[0, row, column] += 60
    assert rays(make_field(image))[0, row, column].mean() > 0.7


def test_a_source_beside_missing_pixels_is_no_ray(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=1, sources=60)
    image[0] += make_gaussian(image.shape[1:], 200, 150, 30000, 3.5)
    image[0, :, 201] = np.nan
    image[0, 152:160, 190:205] = np.nan
    assert not rays(make_field(image)).any()


def test_noise_that_the_map_does_not_follow_is_no_ray(make_field):
    random = np.random.default_rng(2)
    image = random.normal(size=(1, 500, 500)).astype(np.float32)
    image[0, 240:260] *= 3
    assert not found(make_field(image), PixelFlag.COSMIC_RAY, "cosmic_rays").any()


def test_rays_do_not_depend_on_the_memory(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=2, shape=(900, 300), sources=90, seed=5)
    image[0] += np.minimum(make_gaussian(image.shape[1:], 150, 270, 5e7, 5.0), 3e4)
    random = np.random.default_rng(3)
    for x, y in random.integers(5, 290, (60, 2)):
        for step in range(6):
            image[step % 2, 3 * y + step, min(x + step // 2, 299)] += 70
    ivar = np.ones(image.shape, np.float32)
    ivar[:, :250] = 0.5
    ivar[:, 381:] = 0.7
    field = make_field(image, ivar=ivar)
    finders = ("cosmic_rays", "bad_columns", "saturation", "seams")
    flags = PixelFlag.COSMIC_RAY | PixelFlag.SATURATED | PixelFlag.BLEED | PixelFlag.SEAM
    whole = found(field, flags, *finders)
    assert whole.any()
    np.testing.assert_array_equal(whole, found(field, flags, *finders, memory=0.1))


def test_the_sharpness_of_round_stars_is_that_of_their_gaussian(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=1, shape=(300, 300), sources=0)
    for y in range(30, 280, 40):
        for x in range(30, 280, 40):
            image[0] += make_gaussian(image.shape[1:], x, y, 20000, 3.0)
    field = make_field(image)
    measured = sharpness(field, profile(field, 100), np.array([np.nan], np.float32))
    assert measured[0] == pytest.approx(2 ** (4 / 3.0**2), rel=0.02)


def test_without_stars_the_seeing_counts_and_without_that_a_psf_of_two_pixels(make_sky, make_field):
    image, _ = make_sky(bands=1, sources=0)
    levels = np.array([np.nan], np.float32)
    bare, told = make_field(image), make_field(image, meta={"seeing": {"g": 4 * 0.3}})
    assert sharpness(bare, profile(bare, 100), levels)[0] == UNDERSAMPLED
    assert sharpness(told, profile(told, 100), levels)[0] == pytest.approx(2 ** (4 / 16))


@pytest.mark.parametrize("wide", [1, 2])
def test_a_bright_column_one_or_two_pixels_wide_is_found(make_sky, make_field, wide):
    image, _ = make_sky(bands=1, sources=60)
    image[0, 60:340, 222 : 222 + wide] += 12
    flags = found(make_field(image), PixelFlag.BADCOLUMN, "bad_columns")[0]
    assert flags[62:338, 222 : 222 + wide].mean() > 0.95
    assert flags.sum() < 1.3 * wide * 280


def test_light_along_a_column_that_came_through_the_telescope_is_no_bad_column(make_sky, make_field):
    image, _ = make_sky(bands=1, sources=60)
    column = np.arange(image.shape[2])
    image[0] += 40 * np.exp(-((column - 222) ** 2) / (2 * (3.2 / 2.3548) ** 2)).astype(np.float32)
    assert not found(make_field(image), PixelFlag.BADCOLUMN, "bad_columns")[0, :, 215:230].any()


def test_a_bleed_through_a_galaxy_is_found_and_the_galaxy_is_not(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=1, shape=(500, 500), sources=30)
    image[0] += np.minimum(make_gaussian((500, 500), 150, 200, 3e7, 5.0), 2e4)
    image[0] += galaxy((500, 500), 152, 280, 600, 8.0)
    image[0, 120:300, 148:153] = 1.9e4
    flags = found(make_field(image), PixelFlag.SATURATED | PixelFlag.BLEED, "saturation")[0]
    assert flags[120:300, 148:153].all()
    assert not flags[:, 162:].any()
    assert not flags[310:].any()


def test_a_saturated_star_in_the_corner_of_a_field_is_found(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=1, sources=30)
    star = make_gaussian(image.shape[1:], 497, 2, 1e7, 6.0)
    image[0] += np.minimum(star, 9000)
    flags = found(make_field(image), PixelFlag.SATURATED, "saturation")[0]
    assert flags[star > 9000].all()
    assert flags.sum() < 3 * (star > 9000).sum()


def test_a_star_cut_off_far_below_the_plateaus_threshold_is_found_by_its_top(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=1, sources=30)
    star = make_gaussian(image.shape[1:], 250, 200, 5e5, 5.0)
    image[0] += np.minimum(star, 900)
    field = make_field(image)
    assert saturation_levels(field, profile(field, 100))[0] == pytest.approx(0.75 * 900, rel=0.02)
    assert found(field, PixelFlag.SATURATED, "saturation")[0][star > 900].all()


@pytest.mark.parametrize("fwhm", [2.5, 5.0, 12.0, 25.0])
def test_a_whole_peak_is_not_cut_off_however_wide(make_gaussian, fwhm):
    light = make_gaussian((49, 49), 24.3, 23.8, 1e5 * fwhm**2, fwhm).astype(np.float32)
    assert clipped(light, 100.0).size == 0


def test_a_straight_line_of_light_and_a_ray_are_not_cut_off():
    yy, xx = np.mgrid[:49, :49]
    line = 1e4 * np.exp(-((xx - yy) ** 2) / 2 / (2 * 2.0**2))
    ray = np.where((xx > 23) & (xx < 26), 1e4, 0.0)
    assert clipped(line.astype(np.float32), 100.0).size == 0
    assert clipped(ray.astype(np.float32), 100.0).size == 0


def test_seams_of_the_weights_are_found_along_a_slant_and_lie_on_the_noisy_side():
    yy, xx = np.mgrid[:200, :300]
    edge = 100 + xx // 40
    ivar = np.where(yy < edge, 0.6, 1.0) * (1 + 0.01 * np.sin(xx / 7.0))
    found_at = find_weight_seams(ivar.astype(np.float32), 1.1, 15, 6)
    for x in range(0, 300, 10):
        rows = np.flatnonzero(found_at[:, x])
        assert rows.min() == pytest.approx(edge[0, x] - 6, abs=2)
        assert rows.max() == pytest.approx(edge[0, x] + 1, abs=2)
    upside_down = find_weight_seams(np.ascontiguousarray(ivar[::-1]).astype(np.float32), 1.1, 15, 6)
    np.testing.assert_array_equal(upside_down[::-1], found_at)
    np.testing.assert_array_equal(find_weight_seams(ivar.T.astype(np.float32), 1.1, 15, 6).T, found_at)


def test_weights_that_fall_over_a_source_or_vanish_make_no_seam(make_gaussian):
    ivar = 1 / (1 + make_gaussian((200, 200), 90, 80, 4000, 4.0) + make_gaussian((200, 200), 150, 150, 40000, 15.0))
    ivar[:, 20:24] = 0
    ivar[170:] = 0
    assert not find_weight_seams(ivar.astype(np.float32), 1.1, 15, 6).any()


def test_a_patch_as_small_as_one_exposures_cosmic_ray_makes_no_seam():
    ivar = np.ones((100, 100), np.float32)
    ivar[40:44, 50:57] = 0.6
    assert not find_weight_seams(ivar, 1.1, 15, 6).any()


def test_seams_of_the_weights_are_flagged_where_a_field_has_weights(make_sky, make_field):
    image, _ = make_sky(bands=2, sources=30)
    ivar = np.ones(image.shape, np.float32)
    ivar[1, :, 300:] = 0.5
    flags = found(make_field(image, ivar=ivar), PixelFlag.SEAM, "seams")
    assert not flags[0].any()
    assert flags[1, :, 299:303].all()
    assert not flags[1, :, :297].any()
    assert not flags[1, :, 306:].any()
