from __future__ import annotations

import numpy as np
import pytest
from astropy.nddata import Cutout2D
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.flags import FOUND_SHIFT, PixelFlag
from pipeline.geometry import to_sky
from pipeline.scan.background import Mesh
from pipeline.scan.cutouts import cut, cutting_order, nearest_pixel, slice_stamps
from pipeline.scan.cutouts_stats import stamp_stats
from pipeline.scan.detect import Detections
from pipeline.scan.detect_ids import spatial_index
from pipeline.scan.masks import FieldMasks, find
from pipeline.scan.masks_flags import STRIP_ROWS, FoundFlags, packed
from pipeline.scan_config import CutoutsConfig, MasksConfig, VetConfig

SMALL = CutoutsConfig(size="6 arcsec", chunk=5, shard=10)  # 20 pixels


def detections(field, x, y) -> Detections:
    x, y = np.asarray(x, float), np.asarray(y, float)
    ra, dec = to_sky(field.wcs, x, y)
    index = spatial_index(ra, dec)
    order = np.argsort(index)
    names = np.full(len(x), None, object)
    mags = np.full((len(x), len(field.bands)), np.nan, np.float32)
    return Detections(
        np.arange(len(x))[order], names, ra[order], dec[order], x[order], y[order], mags, index[order], field.bands
    )


def blank_masks(field, level=0.0, noise=1.0, flags=None) -> FieldMasks:
    bands, (ny, nx) = len(field.bands), field.shape
    flags = np.zeros((bands, ny, nx), np.uint16) if flags is None else flags
    strips = tuple(packed(flags[:, top : top + STRIP_ROWS]) for top in range(0, ny, STRIP_ROWS))

    def constant(value):
        return Mesh(np.full((bands, 1, 1), value, np.float32), field.shape)

    return FieldMasks(field.bands, constant(level), constant(noise), FoundFlags(strips, (bands, ny, nx)))


def all_cutouts(field, masks, rows, config=SMALL, memory=1000.0):
    return list(cut(field, masks, rows, config, VetConfig(), memory))


@pytest.mark.parametrize("size", [1, 2, 7, 20])
def test_stamps_are_those_of_cutout2d(size):
    random = np.random.default_rng(0)
    plane = random.normal(size=(1, 60, 80)).astype(np.float32)
    x, y = random.integers(-30, 110, 200), random.integers(-30, 90, 200)
    stamps = np.empty((200, 1, size, size), np.float32)
    slice_stamps(plane, x, y, np.float32(np.nan), stamps)
    for stamp, px, py in zip(stamps, x, y, strict=True):
        touches = -size < px - size // 2 < 80 and -size < py - size // 2 < 60
        if not touches:
            assert np.isnan(stamp).all()
            continue
        expected = Cutout2D(plane[0], (px, py), size, mode="partial", fill_value=np.nan).data
        np.testing.assert_array_equal(stamp[0], expected)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(1, 40),
    shape=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    bands=st.integers(1, 3),
)
def test_every_stamp_pixel_is_the_field_pixel_or_the_fill(seed, size, shape, bands):
    random = np.random.default_rng(seed)
    planes = random.normal(size=(bands, *shape)).astype(np.float32)
    x, y = random.integers(-20, shape[1] + 20, 12), random.integers(-20, shape[0] + 20, 12)
    stamps = np.empty((12, bands, size, size), np.float32)
    slice_stamps(planes, x, y, np.float32(-1), stamps)
    for stamp, px, py in zip(stamps, x, y, strict=True):
        for dy in range(size):
            for dx in range(size):
                fy, fx = py - size // 2 + dy, px - size // 2 + dx
                inside = 0 <= fy < shape[0] and 0 <= fx < shape[1]
                expected = planes[:, fy, fx] if inside else np.full(bands, -1)
                np.testing.assert_array_equal(stamp[:, dy, dx], expected)


@pytest.mark.parametrize(
    ("position", "pixel"), [(0.0, 0), (0.4999, 0), (0.5, 1), (-0.5, 0), (-0.5001, -1), (1.5, 2), (2.5, 3)]
)
def test_a_position_rounds_halves_up(position, pixel):
    assert nearest_pixel(np.array([position]))[0] == pixel


def test_edges_are_nan_and_nodata(make_field):
    field = make_field(np.ones((2, 50, 60), np.float32), ivar=np.full((2, 50, 60), 4.0, np.float32))
    (stamps,) = all_cutouts(field, blank_masks(field), detections(field, [0], [49]))
    off = np.ones((20, 20), bool)
    off[:11, 10:] = False
    assert np.isnan(stamps.image[0, 0][off]).all()
    assert (stamps.image[0, 0][~off] == 1).all()
    assert (stamps.ivar[0, 1][off] == 0).all()
    assert (stamps.ivar[0, 1][~off] == 4).all()
    assert (stamps.mask[0, 0][off] == PixelFlag.NODATA).all()
    assert (stamps.mask[0, 0][~off] == 0).all()
    assert stamps.stats.valid_fraction[0] == pytest.approx(110 / 400)
    assert stamps.stats.artefact_fraction[0] == pytest.approx(290 / 400)


def test_a_hole_inside_the_field_is_nan_and_nodata(make_field):
    image = np.ones((1, 50, 60), np.float32)
    image[0, 20:30, 20:30] = np.nan
    field = make_field(image)
    (stamps,) = all_cutouts(field, blank_masks(field), detections(field, [25], [25]))
    hole = np.isnan(stamps.image[0, 0])
    assert hole.sum() == 100
    assert (stamps.mask[0, 0][hole] == PixelFlag.NODATA).all()
    assert (stamps.ivar[0, 0][hole] == 0).all()


def test_background_is_subtracted_and_noise_stands_in_for_a_missing_weight(make_field):
    image = np.full((1, 40, 40), 12.0, np.float32)
    field = make_field(image)
    (stamps,) = all_cutouts(field, blank_masks(field, level=5.0, noise=2.0), detections(field, [20], [20]))
    assert (stamps.image == 7.0).all()
    assert (stamps.ivar == 0.25).all()
    weighted = make_field(image, ivar=np.full(image.shape, 9.0, np.float32))
    (stamps,) = all_cutouts(weighted, blank_masks(weighted, level=5.0, noise=2.0), detections(field, [20], [20]))
    assert (stamps.ivar == 9.0).all()


def test_found_flags_come_in_the_upper_half_of_the_mask(make_field):
    flags = np.zeros((1, 300, 40), np.uint16)
    flags[0, 150, 20] = PixelFlag.TRAIL
    survey = np.zeros((1, 300, 40), np.uint32)
    survey[0, 150, 21] = PixelFlag.SATURATED
    field = make_field(np.ones((1, 300, 40), np.float32), mask=survey)
    (stamps,) = all_cutouts(field, blank_masks(field, flags=flags), detections(field, [20], [150]))
    assert stamps.mask[0, 0, 10, 10] == int(PixelFlag.TRAIL) << FOUND_SHIFT
    assert stamps.mask[0, 0, 10, 11] == PixelFlag.SATURATED
    assert stamps.stats.npix["trail"].tolist() == [1]
    assert stamps.stats.centre_flags[0] == PixelFlag.TRAIL | PixelFlag.SATURATED


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), number=st.integers(1, 60), memory=st.floats(0.001, 0.5))
def test_blocks_of_any_memory_give_the_same_cutouts(make_field, seed, number, memory):
    random = np.random.default_rng(seed)
    image = random.normal(size=(2, 300, 90)).astype(np.float32)
    field = make_field(image)
    rows = detections(field, random.uniform(-0.5, 89.4, number), random.uniform(-0.5, 299.4, number))
    masks = blank_masks(field)
    whole = all_cutouts(field, masks, rows)
    parts = all_cutouts(field, masks, rows, memory=memory)
    assert len(whole) == len(parts) == -(-number // 10)
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_array_equal(one.objid, other.objid)


def test_rows_are_consecutive_down_the_field_and_every_detection_is_cut_once(make_field):
    random = np.random.default_rng(7)
    field = make_field(random.normal(size=(1, 200, 200)).astype(np.float32))
    rows = detections(field, random.uniform(0, 199, 37), random.uniform(0, 199, 37))
    shards = all_cutouts(field, blank_masks(field), rows)
    assert [len(shard) for shard in shards] == [10, 10, 10, 7]
    assert np.concatenate([shard.rows for shard in shards]).tolist() == list(range(37))
    index = np.concatenate([shard.index for shard in shards])
    assert sorted(index) == list(range(37))
    np.testing.assert_array_equal(index, cutting_order(rows))
    assert (np.diff(nearest_pixel(rows.y[index])) >= 0).all()
    np.testing.assert_array_equal(np.concatenate([shard.objid for shard in shards]), rows.objid[index])


def test_no_detections_give_no_shards(make_field):
    field = make_field(np.ones((1, 50, 50), np.float32))
    assert all_cutouts(field, blank_masks(field), detections(field, [], [])) == []


def test_a_stamp_larger_than_the_field_is_mostly_nodata(make_field):
    field = make_field(np.ones((1, 10, 12), np.float32))
    (stamps,) = all_cutouts(field, blank_masks(field), detections(field, [5], [5]))
    assert np.isfinite(stamps.image).sum() == 120
    assert stamps.image.shape == (1, 1, 20, 20)


@pytest.mark.parametrize(
    ("size", "scale", "pixels"), [("20.4 arcsec", 0.339, 60), ("1 arcsec", 0.4, 3), ("0.01 arcsec", 1, 1)]
)
def test_the_side_of_a_stamp_is_rounded_halves_up(size, scale, pixels):
    assert CutoutsConfig(size=size).stamp_pixels(scale) == pixels


def test_statistics_equal_a_plain_count(make_field):
    random = np.random.default_rng(3)
    bits = np.array([0, 0, 0, 1, 2, 1 << 9, 1 << 18, 1 << 29, 3 << 21], np.uint32)
    mask = random.choice(bits, (15, 3, 11, 11))
    mask[4, 1] = PixelFlag.NODATA
    mask[5] = 0
    stats = stamp_stats(mask, 2.0)
    folded = (mask | mask >> 16) & 0xFFFF
    fatal = sum(
        int(PixelFlag[name])
        for name in (
            ["NODATA", "CHIP_GAP", "EDGE", "BADPIX", "BADCOLUMN", "SATURATED", "BLEED", "COSMIC_RAY", "TRAIL", "GHOST"]
        )
    )
    for stamp in range(15):
        for flag in PixelFlag:
            count = max(((folded[stamp, band] & int(flag)) != 0).sum() for band in range(3))
            assert stats.npix[flag.name.lower()][stamp] == count
        bad = ((folded[stamp] & fatal) != 0).any(axis=0)
        assert stats.artefact_fraction[stamp] == pytest.approx(bad.mean())
        valid = min(((folded[stamp, band] & 1) == 0).mean() for band in range(3))
        assert stats.valid_fraction[stamp] == pytest.approx(valid)
        centre = 0
        for y in range(11):
            for x in range(11):
                if (y - 5) ** 2 + (x - 5) ** 2 <= 4:
                    centre |= int(np.bitwise_or.reduce(folded[stamp, :, y, x]))
        assert stats.centre_flags[stamp] == centre
    assert stats.bands_missing.tolist() == [2 if stamp == 4 else 0 for stamp in range(15)]


def test_statistics_of_no_stamps_are_empty():
    stats = stamp_stats(np.zeros((0, 2, 5, 5), np.uint32), 1.0)
    assert len(stats) == 0
    assert stats.bands_missing.shape == (0,)
    assert stats.npix["trail"].shape == (0,)


def test_masks_found_on_a_field_reach_its_cutouts(make_sky, make_field):
    image, _ = make_sky(bands=1, sources=0)
    image[:, :, 200:206] = np.nan
    field = make_field(image)
    masks = find(field, MasksConfig(), 100)
    (stamps,) = all_cutouts(field, masks, detections(field, [203, 100], [200, 200]))
    assert stamps.stats.npix["chip_gap"].tolist() == [0, 120]
