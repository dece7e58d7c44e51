from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import sep
from scipy.spatial import cKDTree

from pipeline.errors import BadSurveyData
from pipeline.flags import PixelFlag
from pipeline.geometry import to_sky
from pipeline.notes import FieldWarning, listening
from pipeline.scan import detect_sources
from pipeline.scan.detect import detect, grid
from pipeline.scan.detect_ids import inherited_ids, spatial_index, unique_ids
from pipeline.scan.detect_sources import smoothed_stack
from pipeline.scan.masks import find
from pipeline.scan_config import DetectConfig, MasksConfig

OFF = MasksConfig(
    gaps=False,
    steps=False,
    saturation=False,
    trails=False,
    cosmic_rays=False,
    bad_columns=False,
    seams=False,
    bright_stars=False,
    low_exposure_fraction=0.0,
)


def found(field_image, **settings):
    return detect(field_image, find(field_image, OFF, 100), DetectConfig(**settings), 100)


def test_planted_sources_are_found_within_half_a_pixel(make_sky, make_field):
    image, places = make_sky(sources=30)
    places = places[cKDTree(places).query(places, k=2)[0][:, 1] > 20]
    rows = found(make_field(image))
    distance, _ = cKDTree(np.column_stack([rows.x, rows.y])).query(places)
    assert (distance < 0.5).all()


def test_noise_alone_gives_no_detections(make_sky, make_field):
    image, _ = make_sky(sources=0)
    rows = found(make_field(image))
    assert len(rows) == 0
    assert rows.mags.shape == (0, 2)
    assert rows.objid.dtype == np.int64


def test_positions_are_those_of_one_sep_pass_where_nothing_is_blended(make_sky, make_field):
    image, _ = make_sky(bands=1, sources=25, seed=8)
    field = make_field(image)
    masks = find(field, OFF, 100)
    rows = detect(field, masks, DetectConfig(), 100)
    stack = smoothed_stack(field, masks, [0], 0, field.shape[0], 100)
    expected = sep.extract(stack, 5.0, minarea=5, filter_kernel=None, clean=False)
    distance, _ = cKDTree(np.column_stack([rows.x, rows.y])).query(np.column_stack([expected["x"], expected["y"]]))
    assert len(rows) == len(expected)
    assert distance.max() < 0.01


def test_rows_are_sorted_by_healpix_then_objid_and_ids_are_unique(make_sky, make_field):
    image, _ = make_sky()
    rows = found(make_field(image))
    assert len(rows) > 20
    np.testing.assert_array_equal(np.lexsort((rows.objid, rows.healpix29)), np.arange(len(rows)))
    assert len(np.unique(rows.objid)) == len(rows)


def test_magnitude_of_a_lone_star_is_its_flux_in_the_aperture(make_field, make_gaussian):
    random = np.random.default_rng(2)
    image = random.normal(0, 0.1, (1, 300, 300)) + make_gaussian((300, 300), 150.3, 120.6, 1000.0, 3.0)
    rows = found(make_field(image))
    assert len(rows) == 1
    # A circle of radius R holds 1 - exp(-R^2 / 2 sigma^2) of a Gaussian; here R is 5 pixels.
    inside = 1 - np.exp(-(5.0**2) / (2 * (3.0 / 2.3548) ** 2))
    assert rows.mags[0, 0] == pytest.approx(31.4 - 2.5 * np.log10(1000.0 * inside), abs=0.01)


def test_a_band_without_positive_flux_has_no_magnitude(make_field, make_gaussian):
    random = np.random.default_rng(2)
    image = random.normal(0, 0.1, (2, 200, 200))
    star = make_gaussian((200, 200), 100.0, 90.0, 500.0)
    image[0] += star
    image[1] -= 0.2 * star
    rows = found(make_field(image), bands=("g",))
    assert np.isfinite(rows.mags[0, 0])
    assert np.isnan(rows.mags[0, 1])


def test_holes_and_their_edges_are_not_detected(make_sky, make_field):
    image, _ = make_sky(sources=0, background=300.0)
    image[:, 100:140, 50:400] = np.nan
    image[0, :, 250:260] = np.nan
    assert len(found(make_field(image))) == 0


def test_sources_under_flags_are_detections_all_the_same(make_sky, make_field):
    image, _ = make_sky(sources=10)
    mask = np.full(image.shape, int(PixelFlag.SATURATED), np.uint32)
    mask[:, :40] = 0
    mask[:, :, :400] = 0
    plain = found(make_field(image))
    flagged = found(make_field(image, mask=mask))
    assert len(plain) == len(flagged)


def test_detection_needs_only_the_bands_it_is_told(make_sky, make_field):
    image, _ = make_sky(sources=20)
    image[1] = np.random.default_rng(0).normal(size=image[1].shape)
    both = found(make_field(image), bands=("g",))
    alone = found(make_field(image[:1]))
    np.testing.assert_array_equal(np.sort(both.x), np.sort(alone.x))


def test_the_grid_tiles_the_whole_field_with_overlap():
    x, y = grid((190, 410), 30.0)
    assert len(np.unique(x)) == 14
    assert np.diff(np.unique(x)).max() <= 30
    assert np.diff(np.unique(y)).max() <= 30
    covered = np.zeros((190, 410), bool)
    for column, row in zip(x.astype(int), y.astype(int), strict=True):
        covered[max(row - 16, 0) : row + 16, max(column - 16, 0) : column + 16] = True
    assert covered.all()


def test_a_grid_step_wider_than_the_field_gives_its_middle(make_sky, make_field):
    image, _ = make_sky(sources=0, shape=(60, 80))
    rows = found(make_field(image), method="grid", grid_step="900 arcsec")
    assert (rows.x.tolist(), rows.y.tolist()) == ([40.0], [30.0])


def catalogue(field, x, y, objid, **extra):
    ra, dec = to_sky(field.wcs, np.asarray(x, float), np.asarray(y, float))
    return SimpleNamespace(objid=np.asarray(objid), ra=ra, dec=dec, **extra)


def test_catalogue_rows_keep_ids_names_and_magnitudes(make_sky, make_field):
    image, _ = make_sky(sources=0)
    field = make_field(image)
    names = np.array(["a", None, "c"], object)
    given = catalogue(
        field, [10, 200, 30], [20, 50, 300], [-5, 7, 2**62], source_id=names, mags={"r": np.float32([20, 21, 22])}
    )
    masks = find(field, OFF, 100)
    rows = detect(field, masks, DetectConfig(method="catalogue"), 100, external=given)
    order = [rows.objid.tolist().index(number) for number in (-5, 7, 2**62)]
    assert rows.source_id[order].tolist() == ["a", None, "c"]
    np.testing.assert_allclose(rows.x[order], [10, 200, 30], atol=1e-6)
    np.testing.assert_allclose(rows.mags[order, 1], [20, 21, 22])
    assert np.isnan(rows.mags[:, 0]).all()


@pytest.mark.parametrize(
    ("x", "objid", "words"),
    [([10, 20], [4, 4], "id 4 2 times"), ([10, 9000], [4, 5], "off the image"), ([10, 20], [4.0, 5.5], "not integers")],
)
def test_a_broken_catalogue_says_what_is_wrong(make_sky, make_field, x, objid, words):
    image, _ = make_sky(sources=0)
    field = make_field(image)
    masks = find(field, OFF, 100)
    with pytest.raises(BadSurveyData, match=words):
        detect(field, masks, DetectConfig(method="catalogue"), 100, external=catalogue(field, x, [5, 6], objid))


def test_catalogue_method_without_a_catalogue_is_an_error(make_sky, make_field):
    image, _ = make_sky(sources=0)
    field = make_field(image)
    with pytest.raises(BadSurveyData, match="name a catalogue"):
        detect(field, find(field, OFF, 100), DetectConfig(method="catalogue"), 100)


def test_a_rerun_with_a_mended_mask_keeps_ids(make_sky, make_field):
    image, _ = make_sky()
    field = make_field(image)
    masks = find(field, OFF, 100)
    before = detect(field, masks, DetectConfig(), 100)
    moved = image + np.random.default_rng(9).normal(0, 0.2, image.shape).astype(np.float32)
    other = make_field(moved)
    after = detect(other, find(other, OFF, 100), DetectConfig(), 100, previous=before)
    same = np.isin(after.objid, before.objid)
    assert same.sum() >= 0.95 * len(before)
    fresh = detect(other, find(other, OFF, 100), DetectConfig(), 100)
    assert np.isin(fresh.objid, before.objid).mean() < 0.5


def test_two_detections_near_one_old_one_share_it_out_to_the_nearest():
    ra = np.array([10.0, 10.0 + 0.1 / 3600])
    dec = np.array([0.0, 0.0])
    ids = inherited_ids(np.array([1, 2]), ra, dec, np.array([77]), np.array([10.0 + 0.09 / 3600]), np.array([0.0]), 0.5)
    assert ids.tolist() == [1, 77]


def test_an_inherited_id_pushes_a_new_one_aside():
    ra, dec = np.array([10.0, 20.0]), np.array([0.0, 0.0])
    ids = inherited_ids(np.array([5, 77]), ra, dec, np.array([77]), np.array([10.0]), np.array([0.0]), 0.5)
    assert ids.tolist() == [77, 78]


def test_detections_in_one_cell_get_the_next_free_number():
    assert unique_ids(np.array([7, 7, 8, 7])).tolist() == [7, 9, 8, 10]


def test_the_spatial_index_is_cdshealpix_at_depth_29():
    index = spatial_index(np.array([0.0, 45.0, 359.99]), np.array([90.0, 0.0, -89.9]))
    assert index.dtype == np.int64
    assert (index >= 0).all()
    assert (index < 12 * 4**29).all()
    assert spatial_index(np.zeros(0), np.zeros(0)).shape == (0,)


@pytest.fixture
def small_sep():
    """sep with room for 2,000 pixels of a region, so that a small one is too much."""
    before = sep.get_extract_pixstack()
    sep.set_extract_pixstack(2000)
    yield
    sep.set_extract_pixstack(before)


def test_what_stands_out_of_a_region_too_large_for_sep_is_found_and_the_region_told_once(small_sep):
    yy, xx = np.mgrid[0:122, 0:122]
    places = [(40.0, 50.0), (75.0, 44.0), (60.0, 84.0)]
    region = np.where(np.maximum(abs(yy - 60), abs(xx - 60)) <= 40, 18.0, 0.0)
    region += sum(np.where(region > 0, 200 * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / 8), 0) for x, y in places)
    with listening() as heard:
        found = detect_sources._taken_apart(region.astype(np.float32), DetectConfig(), 5.0)
    np.testing.assert_allclose(sorted(found), sorted(places), atol=0.01)
    assert len(heard) == 1
    assert "6,561 connected pixels are above 5 times the noise" in heard[0]


def test_a_large_region_that_nothing_stands_out_of_is_one_source(small_sep):
    flat = np.zeros((102, 102), np.float32)
    flat[1:-1, 1:-1] = 1000.0
    with pytest.warns(FieldWarning, match="10,000 connected pixels"):
        assert detect_sources._taken_apart(flat, DetectConfig(), 5.0) == [(50.5, 50.5)]


@pytest.mark.parametrize("filled", [3e38, -3e38, np.inf, 1e25])
def test_pixels_brighter_than_the_sun_are_no_data(make_sky, make_field, filled: float):
    image, _ = make_sky(sources=25)
    image[:, 100:104, 30:90] = np.nan
    expected = found(make_field(image))
    image[:, 100:104, 30:90] = filled
    rows = found(make_field(image))
    assert len(rows) > 10
    assert rows.objid.tolist() == expected.objid.tolist()
    block = make_field(image).read(99, 105)
    assert ((block.mask & PixelFlag.NODATA) != 0).sum() == image.shape[0] * 4 * 60
