"""One row of a scan: what is read of it, and the picture."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.wcs import WCS
from PIL import Image

from pipeline.catalogue.explain import count_flags, ensemble_of, explained, saliency_facts
from pipeline.catalogue.explain_panels import FLAG_COLOURS, heat, map_panel, panel_side
from pipeline.catalogue.explain_picture import explain_png, header_lines
from pipeline.catalogue.stamps import Stamp
from pipeline.errors import ProductMismatch, QueryError
from pipeline.flags import PixelFlag, mask_value
from pipeline.io import cutout_store, products
from pipeline.io.cutout_store import Stamps
from pipeline.io.tables import build_table, write_table
from pipeline.schema import Column, detections_columns

SIZE, BIG = 24, 2**53 + 1


def publish(output: Path, field_id: str, stage: str) -> Path:
    generation = products.new_generation(output, stage, field_id, "f1")
    return output / products.generation_place(stage, field_id, generation)


def live(output: Path, field_id: str, stage: str) -> None:
    products.publish(output, field_id=field_id, stage=stage, fingerprint="f1", generation="f1", rows=0, provenance={})


def put_cutouts(output: Path, field_id: str, objid: list[int], bands: tuple[str, ...] = ("g", "r", "i")) -> None:
    """Noise with a source in the middle, one found trail and one bad pixel of the survey's, for each row."""
    folder = publish(output, field_id, "cutouts")
    store = cutout_store.create(
        folder, bands=bands, pixel_scale=0.3, rows=len(objid), size=SIZE, chunk=4, shard=8, codec="lz4", seeing={}
    )
    image = np.random.default_rng(3).normal(0, 2, (len(objid), len(bands), SIZE, SIZE)).astype(np.float32)
    image[..., SIZE // 2, SIZE // 2] += 300
    mask = np.zeros(image.shape, np.uint32)
    mask[:, 0, 2:4, :] |= mask_value(PixelFlag.TRAIL, found=True)
    mask[:, 1, 20, 5] |= mask_value(PixelFlag.BADPIX)
    cutout_store.write(store, [Stamps(image, np.full_like(image, 0.25), mask)])
    column = Column("objid", pa.int64(), "", "meta.id", "")
    write_table(folder / "stamps.parquet", build_table((column,), {"objid": np.array(objid, np.int64)}))
    live(output, field_id, "cutouts")


def put_detections(output: Path, field_id: str, objid: list[int], wcs: WCS) -> None:
    folder = publish(output, field_id, "detect")
    x, y = np.random.default_rng(4).uniform(0, 500, (2, len(objid)))
    ra, dec = wcs.all_pix2world(x, y, 0)
    values = {"objid": np.array(objid), "source_id": [None] * len(x), "ra": ra, "dec": dec, "x": x, "y": y}
    values |= {"_healpix_29": np.array(objid), "mag_r": np.full(len(x), 20.0)}
    write_table(folder / "detections.parquet", build_table(detections_columns(["r"]), values))
    live(output, field_id, "detect")


def sky(turn: float, *, mirrored: bool = False) -> WCS:
    """East is `turn` degrees clockwise of left; where mirrored, of right."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [359.999, 60.0], [250, 250]
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    sign = 1 if mirrored else -1
    wcs.wcs.cd = np.array([[sign * c, -sign * s], [s, c]]) * 0.3 / 3600
    return wcs


@pytest.fixture
def whole(scan: Path) -> Path:
    """The catalogue of `scan` with cutouts and detections of field `A/1`."""
    put_cutouts(scan, "A/1", [BIG, 12, 13, 14])
    put_detections(scan, "A/1", [BIG, 12, 13, 14, *range(20, 30)], sky(0))
    return scan


def test_a_row_comes_with_its_stamp_its_members_and_its_flags_by_name(whole: Path) -> None:
    facts = explained(whole, BIG)
    assert (facts.row["objid"], facts.row["field_id"]) == (str(BIG), "A/1")
    assert facts.members == {"cnn": 0.9}
    assert [(flag.name, flag.survey, flag.found, flag.bands, flag.fatal) for flag in facts.flags] == [
        ("BADPIX", 1, 0, ("r",), True),
        ("TRAIL", 0, 2 * SIZE, ("g",), True),
    ]
    assert facts.stamp.image.shape == (3, SIZE, SIZE)
    assert (facts.stamp.ivar == 0.25).all()
    assert explained(whole, 13).row["score"] is None
    assert explained(whole, 12, "A/1").vet_flags == ("SEAM",)
    lines = "\n".join(header_lines(explained(whole, 12, "A/1")))
    assert "SEAM" in lines
    assert "not the primary copy" in lines


@pytest.mark.parametrize(
    ("turn", "mirrored", "north", "east"),
    [
        (0, False, (0, 1), (-1, 0)),
        (0, True, (0, 1), (1, 0)),
        (90, False, (1, 0), (0, 1)),
        (30, False, (0.5, np.sqrt(0.75)), (-np.sqrt(0.75), 0.5)),
    ],
)
def test_north_and_east_are_where_the_neighbours_say(
    scan: Path, turn: float, mirrored: bool, north: tuple[float, float], east: tuple[float, float]
) -> None:
    put_cutouts(scan, "A/1", [BIG, 12, 13, 14])
    put_detections(scan, "A/1", [BIG, *range(20, 30)], sky(turn, mirrored=mirrored))
    axes = explained(scan, BIG).axes
    np.testing.assert_allclose(axes, [north, east], atol=1e-3)


@pytest.mark.parametrize("others", [[], [20]])
def test_too_few_neighbours_leave_north_unknown(scan: Path, others: list[int]) -> None:
    put_cutouts(scan, "A/1", [BIG, 12, 13, 14])
    put_detections(scan, "A/1", [BIG, *others], sky(0))
    assert explained(scan, BIG).axes is None


def test_an_objid_of_two_fields_asks_which(whole: Path) -> None:
    with pytest.raises(QueryError, match=r"objid 12 stands in fields A/1, B; say which with --field"):
        explained(whole, 12)
    assert explained(whole, 12, "A/1").row["field_id"] == "A/1"


def test_what_is_not_there_is_said_in_a_line(whole: Path, tmp_path: Path) -> None:
    for objid, field, words in [
        (77, None, "has no objid 77"),
        (-5, "A/1", "field A/1 of .* has no objid -5"),
        (2**63, None, "no 64-bit number"),
        (BIG - 1, None, f"has no objid {BIG - 1}"),
        (BIG, "C", "no candidates of field 'C'"),
    ]:
        with pytest.raises(QueryError, match=words):
            explained(whole, objid, field)
    with pytest.raises(ProductMismatch, match=r"not the output of a scan"):
        explained(tmp_path, 1)


def test_cutouts_that_are_gone_are_told_from_empty_ones(whole: Path) -> None:
    with pytest.raises(ProductMismatch, match=r"cutouts of field B are no longer there .*--from cutouts"):
        explained(whole, -5)
    for gone in ("cutouts/A%2F1/f1/cutouts.zarr/image", "cutouts"):
        shutil.rmtree(whole / gone)
        with pytest.raises(ProductMismatch, match="cutouts of field A/1 are no longer there"):
            explained(whole, BIG)


def test_a_field_that_was_cut_again_since_shows_an_object_by_its_id(scan: Path) -> None:
    put_cutouts(scan, "A/1", [12, 13, 14, BIG])
    of_last, of_first = explained(scan, BIG).stamp, explained(scan, 12, "A/1").stamp
    random = np.random.default_rng(3).normal(0, 2, (4, 3, SIZE, SIZE)).astype(np.float32)
    assert (of_last.image[:, 0, 0] == random[3, :, 0, 0]).all()
    assert (of_first.image[:, 0, 0] == random[0, :, 0, 0]).all()


def test_an_object_that_was_not_cut_again_has_no_picture(scan: Path) -> None:
    put_cutouts(scan, "A/1", [12, 13, 14, 15])
    with pytest.raises(ProductMismatch, match="was cut again"):
        explained(scan, BIG)


def test_the_ensemble_is_the_one_that_the_products_name(scan: Path) -> None:
    assert ensemble_of(scan, "A/1") == (None, {})


def test_flags_of_one_pixel_count_once_though_several_bands_have_them() -> None:
    mask = np.full((2, 3, 3), mask_value(PixelFlag.HALO) | mask_value(PixelFlag.HALO, found=True), np.uint32)
    (flag,) = count_flags(mask, ("g", "r"))
    assert (flag.survey, flag.found, flag.bands, flag.fatal) == (9, 9, ("g", "r"), False)


def test_the_highest_saliency_is_said_in_arcsec_and_from_north_through_east() -> None:
    mask = np.zeros((1, 9, 9), np.uint32)
    mask[0, 6, 4] = mask_value(PixelFlag.SATURATED)
    stamp = Stamp(np.zeros((1, 9, 9), np.float32), mask, ("r",), 0.5)
    saliency = np.zeros((9, 9), np.float32)
    saliency[4, 2], saliency[6, 4] = 1.0, 0.25
    usual = np.array([[0.0, 1.0], [-1.0, 0.0]])
    assert saliency_facts(saliency, stamp, usual) == {"peak": 1.0, "peak_angle": 90.0, "on_fatal": 0.2}
    assert saliency_facts(saliency, stamp, None)["peak_angle"] is None
    nothing = {"peak": None, "peak_angle": None, "on_fatal": None}
    assert saliency_facts(np.zeros((9, 9), np.float32), stamp, usual) == nothing
    assert saliency_facts(np.full((9, 9), np.nan, np.float32), stamp, usual) == nothing


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_the_picture_has_found_and_given_flags_in_their_colours_and_says_what_maps_there_are_none_of(
    whole: Path,
) -> None:
    facts = explained(whole, BIG)
    saliency = np.zeros((SIZE, SIZE), np.float32)
    saliency[5, 7] = 1.0
    bare = opened(explain_png(facts, saliency=saliency))
    full = opened(explain_png(facts, saliency=saliency, lens_light=saliency, artefact=saliency))
    assert bare.shape == full.shape
    assert 700 < bare.shape[0] < 1100
    assert 1000 < bare.shape[1] < 1600
    for flag in (PixelFlag.TRAIL, PixelFlag.BADPIX):
        assert (bare == FLAG_COLOURS[flag]).all(-1).sum() > 50
    brightest = (full == heat(np.array([1.0]))[0]).all(-1).sum()
    assert (
        brightest >= 3 * (panel_side(facts.stamp) // SIZE) ** 2 > (bare == heat(np.array([1.0]))[0]).all(-1).sum() / 2
    )


def test_a_picture_is_the_same_twice(whole: Path) -> None:
    facts = explained(whole, BIG)
    assert explain_png(facts, saliency=None) == explain_png(facts, saliency=None)


def test_names_in_any_letters_many_bands_and_bands_without_data_are_drawn(
    scan: Path, make_table: Callable[..., pa.Table], publish_field: Callable[..., None]
) -> None:
    table = make_table("Übersicht α", [5], [10.0], [0.0], [float("nan")])
    publish_field(scan, "Übersicht α", table, table.slice(0, 0))
    put_cutouts(scan, "Übersicht α", [5], bands=("u", "g", "r", "i", "Z", "Y", "J", "H", "Ks"))
    facts = explained(scan, 5)
    facts.stamp.image[3] = np.nan
    assert explain_png(facts, saliency=np.full((SIZE, SIZE), np.nan, np.float32))[:4] == b"\x89PNG"
    facts.stamp.image[:] = np.nan
    assert explain_png(facts, saliency=None)[:4] == b"\x89PNG"


@pytest.mark.parametrize(("size", "side"), [(24, 264), (64, 256), (66, 264), (256, 256), (300, 300), (1000, 640)])
def test_pixels_are_squares_of_one_size_unless_a_stamp_is_too_large(size: int, side: int) -> None:
    blank = np.zeros((1, size, size), np.float32)
    assert panel_side(Stamp(blank, blank.astype(np.uint32), ("r",), 0.3)) == side


def test_a_map_shows_nothing_where_nothing_is_known() -> None:
    values = np.full((16, 16), np.nan, np.float32)
    values[:8] = 0.5
    picture = np.asarray(map_panel("lens light", values, "probability", "none", 256).picture)
    assert (picture[20, 20] == 128).all()
    assert (picture[200, 20] == heat(np.array([0.5]))[0]).all()
