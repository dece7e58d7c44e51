"""Every finder on an artefact that was put there, and on a field without one."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import BadSurveyData, NoCoverage
from pipeline.flags import FOUND_SHIFT, PixelFlag
from pipeline.scan.masks import calibrated, find
from pipeline.scan.masks_flags import STRIP_ROWS, FoundFlags, box, disc, packed
from pipeline.scan.masks_trails import Shape
from pipeline.scan_config import MasksConfig

NONE = dict.fromkeys(
    ("gaps", "steps", "saturation", "trails", "cosmic_rays", "bad_columns", "seams", "bright_stars", "ghosts"), False
)


def only(*names: str) -> MasksConfig:
    """The configuration in which the named finders alone are on."""
    return MasksConfig(**{**NONE, "low_exposure_fraction": 0.0, **dict.fromkeys(names, True)})


def found(field_image, config: MasksConfig | None = None, memory: float = 100) -> np.ndarray:
    masks = find(field_image, config or MasksConfig(), memory)
    return masks.found.rows(0, field_image.shape[0]) >> FOUND_SHIFT


def has(flags: np.ndarray, flag: PixelFlag) -> np.ndarray:
    return (flags & np.uint32(flag)) != 0


def test_a_clean_field_of_stars_and_galaxies_is_hardly_flagged(make_sky, make_field):
    image, _ = make_sky(bands=3, shape=(600, 700), sources=120, seed=3)
    assert (found(make_field(image)) != 0).mean() < 0.002


@pytest.mark.parametrize("tall", [True, False])
def test_a_gap_without_data_is_a_chip_gap(make_sky, make_field, tall):
    image, _ = make_sky(bands=2)
    hole = (slice(None), slice(200, 212)) if tall else (slice(200, 212), slice(None))
    image[0][hole] = np.nan
    flags = found(make_field(image))
    gap = np.isnan(image)
    assert has(flags, PixelFlag.CHIP_GAP)[gap].all()
    assert not has(flags, PixelFlag.CHIP_GAP)[~gap].any()


def test_a_gap_of_zero_weight_is_a_chip_gap(make_sky, make_field):
    image, _ = make_sky(bands=1)
    ivar = np.ones(image.shape, np.float32)
    ivar[0, :, 300:306] = 0
    flags = found(make_field(image, ivar=ivar), only("gaps"))
    assert has(flags, PixelFlag.CHIP_GAP)[0, :, 300:306].all()
    assert has(flags, PixelFlag.CHIP_GAP).sum() == 6 * image.shape[1]


def test_an_empty_corner_and_a_round_hole_are_no_chip_gaps(make_sky, make_field):
    image, _ = make_sky(bands=1)
    yy, xx = np.mgrid[: image.shape[1], : image.shape[2]]
    image[0][yy + xx < 200] = np.nan
    image[0][(yy - 250) ** 2 + (xx - 300) ** 2 < 30**2] = np.nan
    assert not has(found(make_field(image)), PixelFlag.CHIP_GAP).any()


def test_data_missing_for_a_reason_that_the_survey_gives_are_no_chip_gap(make_sky, make_field):
    image, _ = make_sky(bands=1)
    mask = np.zeros(image.shape, np.uint32)
    mask[0, :, 250:254] = PixelFlag.BLEED
    image[0, :, 250:254] = np.nan
    assert not has(found(make_field(image, mask=mask)), PixelFlag.CHIP_GAP).any()


@pytest.mark.parametrize("tall", [True, False])
def test_a_step_of_the_background_is_a_chip_gap_where_it_is(make_sky, make_field, tall):
    image, _ = make_sky(bands=2, shape=(500, 500))
    half = image[1] if tall else image[1].T
    half[:, 250:] += 0.6
    flags = has(found(make_field(image), only("steps")), PixelFlag.CHIP_GAP)
    assert not flags[0].any()
    lines = flags[1] if tall else flags[1].T
    assert lines[:, 249:251].mean() > 0.95
    assert not lines[:, :243].any()
    assert not lines[:, 257:].any()


def test_two_steps_close_together_bound_one_strip_whose_sky_stays_usable(make_sky, make_field):
    image, _ = make_sky(bands=1, shape=(500, 500))
    image[0, :, 200:280] += 0.8
    flags = found(make_field(image), only("steps"))[0]
    edges, strip = has(flags, PixelFlag.CHIP_GAP), has(flags, PixelFlag.SEAM)
    assert edges[:, [199, 200, 279, 280]].mean() > 0.95
    assert not edges[:, 210:270].any()
    assert strip[:, 205:275].mean() > 0.95
    assert (edges | strip).mean() < 95 / 500


def test_a_slope_is_no_step(make_sky, make_field):
    image, _ = make_sky(bands=1)
    image += np.linspace(0, 6, image.shape[2], dtype=np.float32)
    assert not found(make_field(image), only("steps")).any()


def test_a_saturated_core_and_its_bleed_are_found_and_a_bright_galaxy_is_not(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=1, sources=10)
    star = make_gaussian(image.shape[1:], 150, 200, 5e7, 5.0)
    image[0] += np.minimum(star, 3e4)
    image[0, 150:260, 149:152] = np.maximum(image[0, 150:260, 149:152], 1e4)
    galaxy = make_gaussian(image.shape[1:], 350, 100, 6e5, 9.0)
    image[0] += galaxy
    flags = found(make_field(image))[0]
    core = star > 4e4
    assert has(flags, PixelFlag.SATURATED)[core].all()
    assert has(flags, PixelFlag.BLEED)[155:190, 150].all()
    assert not has(flags, PixelFlag.SATURATED)[60:140, 310:390].any()
    assert not has(flags, PixelFlag.BLEED)[60:140, 310:390].any()


def test_a_galaxy_that_outshines_its_field_is_not_saturated(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=1, sources=10)
    image[0] += make_gaussian(image.shape[1:], 350, 100, 2e5, 10.0)
    assert not found(make_field(image), only("saturation", "bright_stars")).any()


def test_a_saturated_star_has_a_halo_that_reaches_as_far_as_its_light(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=1, sources=0)
    star = make_gaussian(image.shape[1:], 250, 200, 5e7, 5.0)
    image[0] += np.minimum(star, 3e4) + make_gaussian(image.shape[1:], 250, 200, 5e4, 45.0)
    flags = found(make_field(image, mask=None), only("saturation", "bright_stars"))[0]
    halo = has(flags, PixelFlag.HALO)
    yy, xx = np.mgrid[: image.shape[1], : image.shape[2]]
    distance = np.hypot(yy - 200, xx - 250)
    assert halo[distance < 25].all()
    assert not halo[distance > 80].any()
    assert has(flags, PixelFlag.BRIGHT_OBJECT)[distance < 10].all()


def test_a_star_that_the_survey_masked_has_a_halo_too(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=1, sources=0)
    image[0] += make_gaussian(image.shape[1:], 250, 200, 1e5, 20.0)
    mask = np.zeros(image.shape, np.uint32)
    mask[0, 198:203, 248:253] = PixelFlag.SATURATED
    flags = found(make_field(image, mask=mask), only("bright_stars"))[0]
    assert has(flags, PixelFlag.HALO)[190:211, 240:261].all()


@pytest.mark.parametrize("angle", [10.0, 45.0, 77.0, 131.0])
def test_a_trail_across_the_field_is_found_from_end_to_end(make_sky, make_field, angle):
    image, _ = make_sky(bands=2, shape=(500, 600), sources=60)
    yy, xx = np.mgrid[:500, :600]
    across = np.abs((xx - 300) * np.sin(np.radians(angle)) - (yy - 250) * np.cos(np.radians(angle)))
    image[1] += 3.0 * np.exp(-(across**2) / (2 * 2.0**2))
    flags = has(found(make_field(image), only("trails", "steps")), PixelFlag.TRAIL)
    assert flags[1][across < 2].mean() > 0.9
    assert not flags[1][across > 20].any()
    assert not flags[0].any()


def test_a_row_of_stars_is_no_trail(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=1, shape=(400, 400), sources=20)
    for step in range(10):
        image[0] += make_gaussian((400, 400), 30 + 37 * step, 40 + 35 * step, 3000.0)
    assert not has(found(make_field(image)), PixelFlag.TRAIL).any()


def test_an_edge_on_galaxy_is_no_trail(make_sky, make_field):
    image, _ = make_sky(bands=1, shape=(400, 400), sources=20)
    yy, xx = np.mgrid[:400, :400]
    along, across = (xx - 200 + yy - 200) / np.sqrt(2), (xx - 200 - yy + 200) / np.sqrt(2)
    image[0] += 40 * np.exp(-np.abs(along) / 20 - across**2 / (2 * 3.0**2))
    assert not has(found(make_field(image)), PixelFlag.TRAIL).any()


def test_cosmic_rays_are_found_in_their_band_and_stars_are_not(make_sky, make_field):
    image, _ = make_sky(bands=2, sources=80)
    rays = [(100, 100, 1, 1), (250, 60, 0, 1), (300, 400, 1, 0)]
    for y, x, dy, dx in rays:
        for step in range(6):
            image[1, y + step * dy, x + step * dx] += 60
    flags = has(found(make_field(image), only("cosmic_rays")), PixelFlag.COSMIC_RAY)
    assert not flags[0].any()
    for y, x, dy, dx in rays:
        assert all(flags[1, y + step * dy, x + step * dx] for step in range(6))
    assert flags[1].sum() == 24 + 24 + 34  # each ray and the pixels around it


@pytest.mark.parametrize(("depth", "tall"), [(-4.0, True), (5.0, True), (-4.0, False)])
def test_a_bad_column_is_found_dark_or_bright(make_sky, make_field, depth, tall):
    image, _ = make_sky(bands=1, sources=30)
    plane = image[0] if tall else image[0].T
    plane[100:300, 222] += depth
    flags = has(found(make_field(image), only("bad_columns")), PixelFlag.BADCOLUMN)[0]
    line = flags if tall else flags.T
    assert line[110:290, 222].mean() > 0.9
    assert line.sum() < 300


def test_noise_that_doubles_makes_a_seam(make_field):
    random = np.random.default_rng(0)
    image = random.normal(size=(1, 500, 600)).astype(np.float32)
    image[0, :, 333:] *= 2
    flags = has(found(make_field(image), only("seams")), PixelFlag.SEAM)[0]
    assert flags[:, 331:335].mean() > 0.9
    assert flags.mean() < 0.03


@pytest.mark.parametrize("edge", [200, 300, 400])
def test_a_part_with_far_less_exposure_is_low_exposure_however_large(edge: int, make_field):
    random = np.random.default_rng(0)
    image = random.normal(size=(1, 500, 600)).astype(np.float32)
    image[0, :, edge:] *= 3
    flags = has(found(make_field(image), MasksConfig(**NONE)), PixelFlag.LOW_EXPOSURE)[0]
    assert flags[:, edge + 100 :].all()
    assert not flags[:, : edge - 100].any()


def test_the_edge_of_the_image_is_flagged_as_wide_as_asked(make_field):
    image = np.random.default_rng(0).normal(size=(1, 60, 80)).astype(np.float32)
    flags = has(found(make_field(image), MasksConfig(**NONE, edge="0.9 arcsec")), PixelFlag.EDGE)[0]
    expected = np.ones((60, 80), bool)
    expected[3:-3, 3:-3] = False
    np.testing.assert_array_equal(flags, expected)


def test_flags_do_not_depend_on_the_memory(make_sky, make_field, make_gaussian):
    image, _ = make_sky(bands=2, shape=(600, 300), sources=60, seed=5)
    image[0] += np.minimum(make_gaussian(image.shape[1:], 150, 130, 5e7, 5.0), 3e4)
    image[0, 60:200, 149:152] = 2.5e4
    image[1, :, 100] -= 3
    image[:, 380:388] = np.nan
    image[1, 250:256, 40] += 80
    field = make_field(image)
    np.testing.assert_array_equal(found(field), found(field, memory=0.1))


def test_background_and_noise_are_those_that_were_put_there(make_sky, make_field):
    image, _ = make_sky(bands=2, noise=3.0, background=40.0)
    masks = find(make_field(image), MasksConfig(), 100)
    assert masks.background.rows(0, 400).mean() == pytest.approx(40.0, abs=0.5)
    assert masks.noise.rows(0, 400).mean() == pytest.approx(3.0, rel=0.05)


def test_calibrated_rows_are_whole_whichever_are_asked_for(make_sky, make_field):
    image, _ = make_sky(bands=2)
    field = make_field(image)
    masks = find(field, MasksConfig(), 100)
    whole, part = calibrated(field, masks, 0, 400), calibrated(field, masks, 123, 257)
    np.testing.assert_array_equal(part.image, whole.image[:, 123:257])
    np.testing.assert_array_equal(part.ivar, whole.ivar[:, 123:257])
    np.testing.assert_array_equal(part.mask, whole.mask[:, 123:257])


def test_a_field_without_a_pixel_has_no_coverage(make_field):
    with pytest.raises(NoCoverage, match="no usable pixel in any"):
        find(make_field(np.full((2, 50, 50), np.nan)), MasksConfig(), 100)


@pytest.mark.parametrize(
    ("value", "words"), [(np.nan, "band r has no usable pixel"), (0.0, "every valid pixel of band r")]
)
def test_a_band_without_a_sky_is_bad_data(make_sky, make_field, value, words):
    image, _ = make_sky(bands=2)
    image[1] = value
    with pytest.raises(BadSurveyData, match=words):
        find(make_field(image), MasksConfig(), 100)


@pytest.mark.parametrize("shape", [(2, 2), (3, 200), (200, 3), (17, 19)])
def test_tiny_fields_go_through_every_finder(make_field, shape):
    image = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    assert found(make_field(image)).shape == (2, *shape)


def test_packed_strips_give_back_their_rows():
    random = np.random.default_rng(0)
    flags = random.integers(0, 2**16, (2, 300, 7)).astype(np.uint16)
    strips = tuple(packed(flags[:, top : top + STRIP_ROWS]) for top in range(0, 300, STRIP_ROWS))
    stored = FoundFlags(strips, flags.shape)
    for y0, y1 in [(0, 300), (0, 0), (127, 129), (299, 300), (130, 131)]:
        np.testing.assert_array_equal(stored.rows(y0, y1), flags[:, y0:y1].astype(np.uint32) << FOUND_SHIFT)


@pytest.mark.parametrize(
    "shape",
    [
        box(0, PixelFlag.SEAM, 3, 9, 20, 31),
        disc(0, PixelFlag.HALO, 12.3, 17.8, 9.4),
        Shape(0, PixelFlag.TRAIL, -5.0, 3.0, 60.0, 44.0, 2.5),
        Shape(0, PixelFlag.SPIKE, 20.0, 50.0, 20.0, 2.0, 1.2),
    ],
)
def test_shapes_paint_the_same_pixels_in_any_rows_as_a_plain_distance(shape):
    whole = np.zeros((50, 40), np.uint16)
    for y in range(50):
        for x in range(40):
            dx, dy = shape.x1 - shape.x0, shape.y1 - shape.y0
            length = dx * dx + dy * dy
            along = ((x - shape.x0) * dx + (y - shape.y0) * dy) / length if length else 0.0
            if shape.square and not 0 <= along <= 1:
                continue
            along = min(max(along, 0.0), 1.0)
            if (x - shape.x0 - along * dx) ** 2 + (y - shape.y0 - along * dy) ** 2 <= shape.half_width**2:
                whole[y, x] = shape.flag
    assert whole.any()
    for rows in (50, 7, 1):
        parts = np.zeros((50, 40), np.uint16)
        for top in range(0, 50, rows):
            shape.paint(parts[top : top + rows], top)
        np.testing.assert_array_equal(parts, whole)
