"""The page of a scan, and the pictures on it."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.catalogue.colour import ABSENT, choose_bands, colour, fatal_outline, png
from pipeline.catalogue.report import gather, write_report
from pipeline.catalogue.stamps import Stamp, scan_stamps
from pipeline.errors import ProductMismatch
from pipeline.flags import PixelFlag, mask_value
from pipeline.io import cutout_store, ownership, products
from pipeline.io.cutout_store import Stamps
from pipeline.io.run_records import write_run_record
from pipeline.io.tables import build_table, write_table
from pipeline.schema import Column


def stamp(bands: tuple[str, ...] = ("g", "r", "i"), size: int = 21) -> Stamp:
    rng = np.random.default_rng(2)
    image = rng.normal(0, 1, (len(bands), size, size)).astype(np.float32)
    image[:, size // 2, size // 2] += 500
    return Stamp(image, np.zeros(image.shape, np.uint32), bands, 0.2)


class Page(HTMLParser):
    """Checks that tags close in order, and gathers what would be loaded."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in ("meta", "img", "br") and not self.get_starttag_text().endswith("/>"):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_holds_everything_and_loads_nothing(scan: Path, tmp_path: Path) -> None:
    products.record_failure(scan, "C<3>", "masks", "00", "C.fits: truncated & broken", again=False)
    target = write_report(scan, tmp_path / "page.html", stamp=lambda field_id, objid, row: stamp())
    text = target.read_text()
    page = Page(text)
    assert len(page.loaded) == 4
    assert all(value.startswith("data:image/png;base64,") for value in page.loaded)
    assert not re.search(r"https?://", text)
    assert "<bdi>C&lt;3&gt;</bdi>" in text
    assert "C.fits: truncated &amp; broken" in text
    for word in ("9007199254740993", "A/1", "seam", "chip gap crosses", "score", "provenance", "scan_id"):
        assert word in text.lower() or word in text


def test_counts_candidates_and_flags_are_those_of_the_tables(scan: Path) -> None:
    facts = gather(scan)
    told = {"detections": 6, "cutouts": 6, "scored": 6, "unscorable": 1, "stopped": 0, "candidates": 5}
    assert facts.fields.totals == told
    assert [(row.objid, row.field_id) for row in facts.candidates] == [
        (-5, "B"),
        (2**53 + 1, "A/1"),
        (14, "A/1"),
        (12, "B"),
    ]
    assert facts.candidates[3].flags == ("CHIP_GAP_CROSSES", "SEAM")
    assert facts.scores is not None
    assert facts.scores.scored.sum() == 5
    assert facts.scores.candidates.sum() == 5
    assert facts.scores.unflagged.sum() == 3
    assert facts.scores.flags["SEAM"] == 2


def test_forecast_and_what_a_run_took_stand_side_by_side(scan: Path, tmp_path: Path) -> None:
    write_run_record(
        scan, "1", {"forecast": {"objects": 4321}, "actual": {"objects": 1234, "seconds": 5.25, "fields": 2}}
    )
    text = write_report(scan, tmp_path / "page.html").read_text()
    assert '<th scope="row">objects</th><td>4,321</td><td>1,234</td><td>0.29</td>' in text
    assert "<td>99</td><td>1,234</td>" in write_report(scan, tmp_path / "p.html", forecast={"objects": 99}).read_text()


def test_a_scan_without_scores_has_a_page_too(tmp_path: Path) -> None:
    ownership.claim(tmp_path / "out", "early", "sky", "dr1")
    text = write_report(tmp_path / "out", tmp_path / "page.html").read_text()
    Page(text)
    assert "No scores" in text


def test_a_folder_that_is_no_scan_has_none(tmp_path: Path) -> None:
    with pytest.raises(ProductMismatch, match=r"no scan\.json"):
        write_report(tmp_path, tmp_path / "page.html")


def test_stamps_come_from_the_live_cutouts_of_the_very_object(tmp_path: Path) -> None:
    output = tmp_path / "out"
    ownership.claim(output, "test", "sky", "dr1")
    generation = products.new_generation(output, "cutouts", "A/1", "f1")
    folder = output / products.generation_place("cutouts", "A/1", generation)
    store = cutout_store.create(
        folder, bands=("g", "r"), pixel_scale=0.3, rows=2, size=5, chunk=1, shard=2, codec="none", seeing={}
    )
    image = np.arange(2 * 2 * 5 * 5, dtype=np.float32).reshape(2, 2, 5, 5)
    cutout_store.write(store, [Stamps(image, np.ones_like(image), np.zeros(image.shape, np.uint32))])
    column = Column("objid", pa.int64(), "", "", "id")
    write_table(folder / "stamps.parquet", build_table([column], {"objid": np.array([7, 8])}))
    products.publish(
        output, field_id="A/1", stage="cutouts", fingerprint="f1", generation=generation, rows=2, provenance={}
    )
    source = scan_stamps(output)
    found = source("A/1", 8, 1)
    assert found is not None
    assert (found.bands, found.pixel_scale) == (("g", "r"), 0.3)
    np.testing.assert_array_equal(found.image, image[1])
    moved = source("A/1", 7, 1)
    assert moved is not None
    np.testing.assert_array_equal(moved.image, image[0], "its row is another one since the field was cut again")
    assert source("A/1", 9, 1) is None
    assert source("A/1", 8, None) is None
    assert source("B", 8, 1) is None


def test_bands_are_chosen_by_wavelength() -> None:
    assert choose_bands(("u", "g", "r", "i", "Z")) == ("i", "r", "g")
    assert choose_bands(("VIS", "Y", "J", "H")) == ("H", "J", "VIS")
    assert choose_bands(("H",)) == ("H", "H", "H")
    assert choose_bands(("z", "g")) == ("z", "z", "g")


def test_pixels_without_data_are_grey_and_the_sky_is_dark() -> None:
    given = stamp()
    given.image[1, :3] = np.nan
    given.mask[0, -2:] = mask_value(PixelFlag.NODATA, found=True)
    picture = colour(given)
    assert picture.shape == (21, 21, 3)
    assert (picture[:3] == ABSENT).all()
    assert (picture[-2:] == ABSENT).all()
    assert picture[5:9].mean() < 60
    assert picture[10, 10].min() > 120


def test_a_red_source_is_red_and_a_stamp_of_nothing_is_grey() -> None:
    given = stamp()
    given.image[:, 10, 10] = (0, 20, 400)
    red, _, blue = colour(given)[10, 10].astype(int)
    assert red > blue + 60
    empty = Stamp(np.full((3, 4, 4), np.nan, np.float32), np.zeros((3, 4, 4), np.uint32), ("g", "r", "i"), 0.2)
    assert (colour(empty) == ABSENT).all()
    constant = Stamp(np.ones((1, 4, 4), np.float32), np.zeros((1, 4, 4), np.uint32), ("r",), 0.2)
    assert colour(constant).shape == (4, 4, 3)


def test_pictures_have_row_zero_at_the_bottom() -> None:
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[0, 0] = (255, 0, 0)
    back = np.asarray(Image.open(io.BytesIO(png(picture))))
    assert back[1, 0].tolist() == [255, 0, 0]
    assert base64.b64encode(png(picture))


def test_the_outline_runs_along_the_edges_of_fatal_pixels() -> None:
    mask = np.zeros((2, 4, 5), np.uint32)
    mask[1, 0, 1:3] = mask_value(PixelFlag.TRAIL, found=True)
    mask[0, 2, 2] = mask_value(PixelFlag.HALO)
    assert sorted(re.findall("M[^M]+", fatal_outline(mask))) == ["M1 3h2", "M1 3v1", "M1 4h2", "M3 3v1"]
    assert fatal_outline(np.zeros((1, 3, 3), np.uint32)) == ""


def test_the_outline_is_as_long_as_a_loop_counts() -> None:
    rng = np.random.default_rng(0)
    mask = (rng.random((1, 9, 7)) < 0.4).astype(np.uint32) * mask_value(PixelFlag.BLEED)
    bad = {(y, x) for y, x in np.argwhere(mask[0])}
    expected = sum((y + dy, x + dx) not in bad for y, x in bad for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)))
    assert sum(int(number) for number in re.findall(r"[hv](\d+)", fatal_outline(mask))) == expected


def test_what_is_odd_about_a_field_stands_on_the_page(scan: Path, tmp_path: Path) -> None:
    generation = products.new_generation(scan, "masks", "A/1", "m1")
    told = {"rows": 0, "provenance": {}, "notes": ["mask <r>: bits 9 (3 px) mean nothing"]}
    products.publish(scan, field_id="A/1", stage="masks", fingerprint="m1", generation=generation, **told)
    text = write_report(scan, tmp_path / "page.html").read_text()
    Page(text)
    assert "Notes on fields" in text
    assert "mask &lt;r&gt;: bits 9 (3 px) mean nothing" in text
