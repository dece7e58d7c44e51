from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ProductMismatch
from pipeline.io import cutout_store
from pipeline.io.cutout_store import CutoutStore, Stamps


def make(folder: Path, rows: int, codec: str = "lz4") -> CutoutStore:
    return cutout_store.create(
        folder, bands=("g", "r"), pixel_scale=0.3, rows=rows, size=6, chunk=4, shard=8, codec=codec, seeing={"r": 0.8}
    )


def stamps(rows: int, seed: int = 0) -> Stamps:
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(rows, 2, 6, 6)).astype(np.float32)
    image[:, 0, 0, 0] = np.nan
    return Stamps(image, np.abs(image) + 1, rng.integers(0, 2**32, image.shape, dtype=np.uint32))


def split(store: CutoutStore, whole: Stamps) -> Iterator[Stamps]:
    for index in range(store.shards):
        a, b = store.span(index)
        yield Stamps(whole.image[a:b], whole.ivar[a:b], whole.mask[a:b])


@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
@pytest.mark.parametrize("rows", [1, 8, 21])
def test_what_is_written_is_read_bit_for_bit(tmp_path: Path, rows: int, codec: str) -> None:
    whole = stamps(rows)
    store = make(tmp_path, rows, codec)
    cutout_store.write(store, split(store, whole))
    again = cutout_store.open_store(tmp_path)
    assert again == store
    assert cutout_store.seeing(tmp_path) == {"r": 0.8}
    read = cutout_store.read(again, 0, rows)
    np.testing.assert_array_equal(read.image.view(np.uint32), whole.image.view(np.uint32))
    np.testing.assert_array_equal(read.ivar.view(np.uint32), whole.ivar.view(np.uint32))
    np.testing.assert_array_equal(read.mask, whole.mask)
    last = cutout_store.read_shard(again, again.shards - 1)
    np.testing.assert_array_equal(last.mask, whole.mask[again.span(again.shards - 1)[0] :])


def test_one_file_a_shard_and_array(tmp_path: Path) -> None:
    store = make(tmp_path, 21)
    cutout_store.write(store, split(store, stamps(21)))
    files = sorted(path.relative_to(store.path).as_posix() for path in store.path.rglob("c/*/0/0/0"))
    assert files == sorted(f"{name}/c/{shard}/0/0/0" for name in ("image", "ivar", "mask") for shard in range(3))


def test_a_field_without_detections_has_an_empty_store(tmp_path: Path) -> None:
    store = make(tmp_path, 0)
    cutout_store.write(store, [])
    assert cutout_store.open_store(tmp_path).shards == 0
    assert cutout_store.read(store, 0, 0).image.shape == (0, 2, 6, 6)


def test_shards_of_the_wrong_size_or_number_are_refused(tmp_path: Path) -> None:
    store = make(tmp_path, 10)
    with pytest.raises(ProductMismatch, match="shard 0 has 7 cutouts, not 8"):
        cutout_store.write(store, [stamps(7)])
    with pytest.raises(ProductMismatch, match="8 cutouts written of 10"):
        cutout_store.write(store, [stamps(8)])
    with pytest.raises(ProductMismatch, match="shard 2"):
        cutout_store.write(store, [stamps(8), stamps(2), stamps(1)])


def test_the_same_cutouts_give_the_same_bytes(tmp_path: Path) -> None:
    trees = []
    for name in ("one", "two"):
        store = make(tmp_path / name, 21)
        cutout_store.write(store, split(store, stamps(21)))
        trees.append({p.relative_to(store.path): p.read_bytes() for p in store.path.rglob("*") if p.is_file()})
    assert trees[0] == trees[1]


def test_a_folder_without_cutouts_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ProductMismatch, match="rerun the field from cutouts"):
        cutout_store.open_store(tmp_path)
