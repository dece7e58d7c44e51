"""That training and validation share nothing, and the truth that tells it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import ConfigError
from pipeline.train.apart import check_apart, shared_places, shared_sources, shared_stamps
from pipeline.train.data import Stamps, read_stamps
from pipeline.train.data_config import DataConfig
from pipeline.train.truth import read_truth

BANDS = ("g", "r")


def write_pool(path: Path, n: int, seed: int, **columns: np.ndarray) -> None:
    image = np.random.default_rng(seed).normal(size=(n, 2, 8, 8)).astype(np.float32)
    np.savez(path, image=image, label=np.arange(n) % 2, bands=np.array(BANDS), pixel_scale=0.3, seed=seed, **columns)


def config(folder: Path, **changes: object) -> DataConfig:
    values = {"train": [str(folder / "train-*.npz")], "validation": [str(folder / "validation.npz")], **changes}
    return DataConfig.model_validate(values)


def read(data: DataConfig) -> tuple[Stamps, Stamps]:
    return read_stamps(data.train, BANDS, 0.3), read_stamps(data.validation, BANDS, 0.3)


def test_pools_of_their_own_are_apart(tmp_path: Path):
    write_pool(
        tmp_path / "train-0.npz", 20, 0, source_id=np.array([3, -1] * 10), ra=np.full(20, 10.0), dec=np.zeros(20)
    )
    write_pool(tmp_path / "train-1.npz", 20, 1)
    write_pool(
        tmp_path / "validation.npz", 10, 2, source_id=np.array([4, -1] * 5), ra=np.full(10, 10.001), dec=np.zeros(10)
    )
    data = config(tmp_path)
    check_apart(data, *read(data))


def test_a_stamp_in_both_is_refused_and_named(tmp_path: Path):
    write_pool(tmp_path / "train-0.npz", 20, 0)
    with np.load(tmp_path / "train-0.npz") as pool:
        image = np.random.default_rng(9).normal(size=(6, 2, 8, 8)).astype(np.float32)
        image[4] = pool["image"][13]
    np.savez(tmp_path / "validation.npz", image=image, label=np.arange(6) % 2, bands=np.array(BANDS), pixel_scale=0.3)
    data = config(tmp_path, shared_sources="allow")
    stamps = read(data)
    assert shared_stamps(*stamps).tolist() == [[13, 4]]
    with pytest.raises(ConfigError, match=r"1 of its 6 stamps are in data.train too, .*number 4 is number 13"):
        check_apart(data, *stamps)


def test_a_galaxy_or_a_place_in_both_is_refused_unless_allowed(tmp_path: Path):
    write_pool(tmp_path / "train-0.npz", 20, 0, source_id=np.arange(20))
    write_pool(tmp_path / "validation.npz", 4, 2, source_id=np.array([-1, 19, 7, 40]))
    data = config(tmp_path)
    with pytest.raises(ConfigError, match=r"2 galaxies are lensed in train and validation \(7, 19\)"):
        check_apart(data, *read(data))
    allowed = config(tmp_path, shared_sources="allow")
    check_apart(allowed, *read(allowed))
    write_pool(tmp_path / "train-0.npz", 20, 0, ra=np.linspace(0, 359.9999, 20), dec=np.zeros(20))
    write_pool(tmp_path / "validation.npz", 4, 2, ra=np.array([0.0, 1, np.nan, 3]), dec=np.array([0.0002, 0, 0, 0]))
    with pytest.raises(ConfigError, match=r"1 validation stamps lie where a training stamp does .*ra 0.0, dec 0.0002"):
        check_apart(data, *read(data))


def test_places_are_compared_across_the_meridian():
    first = pa.table({"ra": [359.9999, 10.0, None], "dec": [0.0, 89.9999, 1.0]})
    second = pa.table({"ra": [0.0001, 190.0, 5.0], "dec": [0.0, 89.9999, 5.0]})
    assert shared_places(first, second, 1.0).tolist() == [0, 1]
    assert shared_places(first, second, 0.5).tolist() == []
    assert shared_places(first, pa.table({"dec": [0.0]}), 1.0).size == 0


def test_missing_and_negative_source_ids_are_no_galaxy():
    first, second = pa.table({"source_id": [-1, None, 2**60 + 1]}), pa.table({"source_id": [-1, 2**60 + 1, 2**60]})
    assert shared_sources(first, second).tolist() == [2**60 + 1]
    assert shared_sources(first, pa.table({"other": [1]})).size == 0


def test_truth_is_row_by_row_with_the_stamps(tmp_path: Path):
    seeing = np.arange(40, dtype=np.float32).reshape(20, 2)
    theta = np.where(np.arange(20) % 2, 1.5, np.nan).astype(np.float32)
    kind, kinds = np.arange(20, dtype=np.int8) % 2, np.array(["spiral", "lens"])
    write_pool(tmp_path / "a-0.npz", 20, 0, seeing=seeing, theta_E=theta, kind=kind, kinds=kinds)
    write_pool(tmp_path / "a-1.npz", 20, 1, source_id=np.arange(20) + 2**60, field_id=np.array(["F1"] * 20))
    write_pool(tmp_path / "b.npz", 20, 2, arc=np.zeros((20, 8, 8)))
    patterns = [str(tmp_path / "a-*.npz"), str(tmp_path / "b.npz")]
    truth, stamps = read_truth(patterns), read_stamps(patterns, BANDS, 0.3)
    assert truth["label"].to_pylist() == stamps.lens.tolist()
    assert truth["kind"].to_pylist() == stamps.kind.tolist()
    assert truth["seeing_r"].to_pylist()[:2] == [1.0, 3.0]
    assert truth["theta_E"].to_pylist()[:3] == [None, 1.5, None]
    assert truth["source_id"].to_pylist()[38:42] == [2**60 + 18, 2**60 + 19, None, None]
    assert truth["field_id"].to_pylist()[20] == "F1"
    assert set(truth.column_names) == {"label", "kind", "seeing_g", "seeing_r", "theta_E", "source_id", "field_id"}
    some, few = read_truth(patterns, 31), read_stamps(patterns, BANDS, 0.3, limit=31)
    assert some["label"].to_pylist() == few.lens.tolist()
    assert len(some) == 31


def test_columns_of_different_types_are_refused(tmp_path: Path):
    write_pool(tmp_path / "a.npz", 4, 0, field_id=np.array(["F1"] * 4))
    write_pool(tmp_path / "b.npz", 4, 1, field_id=np.arange(4))
    with pytest.raises(ConfigError, match="truth columns of the pools differ in type"):
        read_truth([str(tmp_path / "*.npz")])
