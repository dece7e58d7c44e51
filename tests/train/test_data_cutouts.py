"""Cutouts of a scan, labelled by a table or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import ConfigError
from pipeline.flags import PixelFlag, mask_value
from pipeline.io import cutout_store, ownership, products
from pipeline.train.data import Stamps, read_stamps, read_unlabelled
from pipeline.train.data_config import CutoutsConfig, TableConfig
from pipeline.train.sources.cutout_table import read_labels

BANDS = ("g", "r", "i", "z")
SIDE, SCALE = 10, 0.3
FIRST = 2**60 + 1
"""A float64 holds no odd number of this size: an id that has been through one is another's."""


def image(field: int, row: int) -> np.ndarray:
    return np.random.default_rng([field, row]).normal(5, 1, (len(BANDS), SIDE, SIDE)).astype(np.float32)


def write_field(
    output: Path, field: int, n: int = 40, *, shared: int = 0, without_data: tuple[int, ...] = (), scale: float = SCALE
) -> None:
    """Field `F<field>`: ids from FIRST + 1000 * field, the first `shared` of them those of field 0."""
    name = f"F{field}"
    images = np.stack([image(field, row) for row in range(n)])
    images[list(without_data)] = np.nan
    mask = np.zeros(images.shape, np.uint32)
    mask[:, 1, 2, 3] = mask_value(PixelFlag.COSMIC_RAY, found=True)
    objid = FIRST + 1000 * field + np.arange(n, dtype=np.int64)
    objid[:shared] = FIRST + np.arange(shared)
    cut = products.generation_place("cutouts", name, products.new_generation(output, "cutouts", name, "a" * 64))
    store = cutout_store.create(
        output / cut, bands=BANDS, pixel_scale=scale, rows=n, size=SIDE, chunk=4, shard=16, codec="lz4", seeing={}
    )
    spans = [slice(first, first + 16) for first in range(0, n, 16)]
    ivar = np.ones_like(images)
    cutout_store.write(store, [cutout_store.Stamps(images[s], ivar[s], mask[s]) for s in spans])
    missing = np.where(np.isin(np.arange(n), without_data), 0b1111, 0).astype(np.uint32)
    pq.write_table(pa.table({"objid": objid, "bands_missing": missing}), output / cut / "stamps.parquet")
    found = products.generation_place("detect", name, products.new_generation(output, "detect", name, "b" * 64))
    (output / found).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(field)
    table = pa.table({"objid": objid, "ra": 150 + field + rng.random(n), "dec": rng.random(n)})
    pq.write_table(table.take(rng.permutation(n)), output / found / "detections.parquet")
    for stage, place in (("cutouts", cut), ("detect", found)):
        products.publish(
            output,
            field_id=name,
            stage=stage,
            fingerprint={"cutouts": "a", "detect": "b"}[stage] * 64,
            generation=place.rsplit("/", 1)[1],
            rows=n,
            provenance={},
        )


def write_primary(output: Path, field: int, primary: dict[int, bool]) -> None:
    name = f"F{field}"
    generation = products.new_generation(output, "candidates", name, "c" * 64)
    table = pa.table({"objid": pa.array(list(primary), pa.int64()), "is_primary": list(primary.values())})
    place = output / products.generation_place("candidates", name, generation)
    pq.write_table(table, place / "scores.parquet")
    products.publish(
        output,
        field_id=name,
        stage="candidates",
        fingerprint="c" * 64,
        generation=generation,
        rows=len(primary),
        provenance={},
    )


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    output = tmp_path / "scan"
    ownership.claim(output, "scan", "survey", "dr1")
    write_field(output, 0)
    write_field(output, 1)
    return output


def pixels(stamps: Stamps) -> np.ndarray:
    return stamps.take(np.arange(len(stamps)), np.zeros(len(stamps), bool))[0].numpy()


def cutouts(scan: Path, **changes: Any) -> Stamps:
    config = CutoutsConfig.model_validate({"kind": "cutouts", "scan": str(scan), **changes})
    stamps = read_unlabelled([config], ("g", "i"), SCALE, SIDE)
    assert stamps is not None
    return stamps


def labelled(scan: Path, table: Path, **changes: Any) -> Stamps:
    config = TableConfig.model_validate({"kind": "table", "scan": str(scan), "table": str(table), **changes})
    return read_stamps([config], ("g", "i"), SCALE, SIDE)


def write_csv(path: Path, rows: list[tuple[object, ...]], header: str = "objid,label") -> Path:
    path.write_text("# who labelled it\n" + header + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def test_every_cutout_of_a_scan_is_unlabelled_data(scan: Path):
    stamps = cutouts(scan)
    assert len(stamps) == 80
    np.testing.assert_allclose(pixels(stamps)[45], image(1, 5)[[0, 2]], rtol=5e-4)
    assert not stamps.lens.any()
    assert len(cutouts(scan, fields=["F1"])) == 40
    assert len(cutouts(scan, limit=33)) == 33


def test_flags_of_the_survey_and_of_ours_come_along(scan: Path):
    config = CutoutsConfig.model_validate({"kind": "cutouts", "scan": str(scan)})
    stamps = read_unlabelled([config], ("r", "i"), SCALE, SIDE)
    assert stamps is not None
    _, valid, _ = stamps.take(np.array([3]), np.array([True]))
    assert not valid[0, 0, 2, 3]
    assert valid.sum() == 2 * SIDE * SIDE - 1


def test_cutouts_without_a_pixel_in_the_bands_are_left_out(tmp_path: Path):
    ownership.claim(tmp_path, "scan", "survey", "dr1")
    write_field(tmp_path, 0, without_data=(0, 7, 39))
    assert len(cutouts(tmp_path)) == 37


def test_parts_of_the_sky_share_no_cutout(scan: Path):
    parts = [cutouts(scan, part=part, cell="10 arcmin") for part in ("train", "validation", "test")]
    keys = [{stamp.tobytes() for stamp in part.image} for part in parts]
    assert sum(map(len, keys)) == len(set.union(*keys)) > 70
    with pytest.raises(ConfigError, match="smaller than the cutouts"):
        cutouts(scan, part="test", cell="1 arcsec")
    with pytest.raises(ConfigError, match="none of 80 cutouts lies in part 'test'"):
        cutouts(scan, part="test", shares={"train": 1.0, "validation": 0.0, "test": 0.0})


def test_cutouts_of_another_pixel_scale_are_resampled(tmp_path: Path):
    ownership.claim(tmp_path, "scan", "survey", "dr1")
    write_field(tmp_path, 0, scale=0.15)
    stamps = cutouts(tmp_path)
    assert stamps.size == SIDE
    # Of 1.5 arcsec: four pixels of 0.3 arcsec whose centres lie well inside, along each axis.
    assert np.isfinite(pixels(stamps)[0, 0]).sum() == 4 * 4
    assert np.nanmean(pixels(stamps)) == pytest.approx(20, rel=0.02)


def test_what_is_no_scan_or_lacks_a_band_or_field_is_refused(tmp_path: Path, scan: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="is not the output of a scan"):
        cutouts(tmp_path / "empty")
    with pytest.raises(ConfigError, match=r"no cutouts of F9; it has F0, F1"):
        cutouts(scan, fields=["F9"])
    config = CutoutsConfig.model_validate({"kind": "cutouts", "scan": str(scan)})
    with pytest.raises(ConfigError, match=r"bands g, r, i, z; y is missing"):
        read_unlabelled([config], ("y",), SCALE, SIDE)


@pytest.mark.parametrize("form", ["csv", "parquet", "strings.parquet"])
def test_a_table_labels_cutouts_by_their_whole_id(tmp_path: Path, scan: Path, form: str):
    ids = [FIRST + 1007, FIRST + 4, FIRST + 3, FIRST + 1002]
    path = tmp_path / f"labels.{form}"
    if form == "csv":
        write_csv(path, [(objid, k % 2) for k, objid in enumerate(ids)])
    else:
        given = pa.array([str(key) for key in ids]) if "strings" in form else pa.array(ids, pa.int64())
        pq.write_table(pa.table({"objid": given, "label": [False, True, False, True], "who": ["me"] * 4}), path)
    stamps = labelled(scan, path)
    # In the order of field and place.
    assert stamps.lens.tolist() == [False, True, True, False]
    expected = np.stack([image(0, 3), image(0, 4), image(1, 2), image(1, 7)])[:, [0, 2]]
    np.testing.assert_allclose(pixels(stamps), expected, rtol=5e-4)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(FIRST, 1), (FIRST + 500, 0)], rf"1 of 2 ids have no cutout in .*, the first is {FIRST + 500}"),
        ([(FIRST, 1), (FIRST, 0)], rf"objid {FIRST} stands there twice"),
        ([(FIRST, 1), (FIRST + 1, 2)], rf"objid {FIRST + 1}: label '2' is neither 0 nor 1"),
        ([(FIRST, 1), (FIRST + 1, "")], "label '' is neither 0 nor 1"),
        ([(FIRST, 1), (FIRST + 1, 1)], "2 stamps, all of them lenses"),
        ([("1.15e18", 1)], "objid '1.15e18' is no 64-bit integer"),
        ([(2**63, 1)], "is no 64-bit integer"),
        ([(FIRST, 1, 3)], "has 3 values for 2 columns"),
        ([], "no row in it"),
    ],
)
def test_a_table_that_does_not_match_is_refused(tmp_path: Path, scan: Path, rows: list[Any], message: str):
    with pytest.raises(ConfigError, match=message):
        labelled(scan, write_csv(tmp_path / "labels.csv", rows))


def test_ids_as_floats_are_refused_also_where_they_are_whole(tmp_path: Path):
    path = tmp_path / "labels.parquet"
    pq.write_table(pa.table({"objid": [1.0, 2.0], "label": [0, 1]}), path)
    with pytest.raises(ConfigError, match=r"objid 1.0 is no 64-bit integer; write ids as integers"):
        read_labels(path)


def test_a_table_without_its_columns_or_unreadable_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="no column label; it has objid, grade"):
        read_labels(write_csv(tmp_path / "labels.csv", [(1, 2)], "objid,grade"))
    with pytest.raises(ConfigError, match=r"nowhere.csv: cannot be read"):
        read_labels(tmp_path / "nowhere.csv")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(ConfigError, match=r"a.parquet: cannot be read"):
        read_labels(tmp_path / "a.parquet")


def test_an_object_of_two_fields_needs_its_field_or_its_primary_copy(tmp_path: Path):
    output = tmp_path / "scan"
    ownership.claim(output, "scan", "survey", "dr1")
    write_field(output, 0)
    write_field(output, 1, shared=2)
    path = write_csv(tmp_path / "labels.csv", [(FIRST, 1), (FIRST + 9, 0)])
    with pytest.raises(ConfigError, match=rf"objid {FIRST} has cutouts in fields F0, F1; add a column field_id"):
        labelled(output, path)
    named = write_csv(tmp_path / "named.csv", [(FIRST, 1, "F1"), (FIRST + 9, 0, "F0")], "objid,label,field_id")
    np.testing.assert_allclose(pixels(labelled(output, named))[1], image(1, 0)[[0, 2]], rtol=5e-4)
    write_primary(output, 0, {FIRST: False, FIRST + 9: True})
    write_primary(output, 1, {FIRST: True})
    stamps = labelled(output, path)
    assert stamps.lens.tolist() == [False, True]
    np.testing.assert_allclose(pixels(stamps)[1], image(1, 0)[[0, 2]], rtol=5e-4)


def test_a_labelled_cutout_without_a_pixel_is_named(tmp_path: Path):
    ownership.claim(tmp_path / "scan", "scan", "survey", "dr1")
    write_field(tmp_path / "scan", 0, without_data=(7,))
    path = write_csv(tmp_path / "labels.csv", [(FIRST + 7, 1), (FIRST + 9, 0)])
    with pytest.raises(ConfigError, match=rf"labels.csv: objid {FIRST + 7}: not one valid pixel in bands g, i"):
        labelled(tmp_path / "scan", path)


def test_a_damaged_shard_is_named(scan: Path):
    shards = sorted(path for path in scan.rglob("cutouts.zarr/image/c/*") if "F0" in str(path))
    target = next(path for path in sorted(shards[0].rglob("*")) if path.is_file())
    target.write_bytes(target.read_bytes()[:20])
    with pytest.raises(ConfigError, match=r"F0.*unreadable .*run field F0 again from cutouts"):
        cutouts(scan)
