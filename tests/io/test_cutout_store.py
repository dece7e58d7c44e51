from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.errors import ProductMismatch
from pipeline.io import cutout_store
from pipeline.io.cutout_store import CutoutStore, Stamps
from pipeline.io.zarr_groups import reading


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


def test_threads_that_read_at_once_leave_the_pipeline_that_writes_as_it_was(tmp_path: Path) -> None:
    cutout_store.write(make(tmp_path, 1), [stamps(1)])
    path, before = cutout_store.open_store(tmp_path).path, zarr.config.get("codec_pipeline.path")
    entered = threading.Event()

    def slow(seconds: float) -> None:
        def read(_: zarr.Group) -> None:
            entered.set()
            time.sleep(seconds)

        reading(path, read)

    first = threading.Thread(target=slow, args=(0.2,))
    first.start()
    entered.wait()
    slow(0.4)
    first.join()
    assert zarr.config.get("codec_pipeline.path") == before


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


def sky(rows: int, seed: int = 3) -> Stamps:
    """Noise of another size in each cutout and band, with a bright pixel here and a hole there."""
    rng = np.random.default_rng(seed)
    sigma = rng.uniform(0.5, 20.0, (rows, 2, 1, 1)).astype(np.float32)
    image = (sigma * rng.normal(size=(rows, 2, 6, 6))).astype(np.float32)
    ivar = np.broadcast_to(1 / (sigma * sigma), image.shape).copy()
    image[::3, 0, 2, 2] = 30_000 * sigma[::3, 0, 0, 0]
    image[1::3, 1, :, 3], ivar[1::3, 1, :, 3] = np.nan, 0
    return Stamps(image, ivar, rng.integers(0, 2**32, image.shape, dtype=np.uint32))


def test_a_quantised_image_is_off_by_half_a_step_and_the_rest_by_nothing(tmp_path: Path) -> None:
    whole = sky(21)
    store = make(tmp_path, 21, "quantised")
    cutout_store.write(store, split(store, whole))
    assert cutout_store.open_store(tmp_path) == store
    read = cutout_store.read(store, 0, 21)
    np.testing.assert_array_equal(read.ivar.view(np.uint32), whole.ivar.view(np.uint32))
    np.testing.assert_array_equal(read.mask, whole.mask)
    np.testing.assert_array_equal(np.isnan(read.image), np.isnan(whole.image))
    off = np.nanmax(np.abs(read.image - whole.image), axis=(2, 3))
    noise = 1 / np.sqrt(whole.ivar.max(axis=(2, 3)))
    peak = np.nanmax(np.abs(whole.image), axis=(2, 3))
    assert (off <= 0.501 * np.maximum(noise / 16, peak / 32767)).all()
    assert off.max() > 0


def test_quantised_cutouts_are_read_as_they_were_scored(tmp_path: Path) -> None:
    whole = sky(21)
    store = make(tmp_path, 21, "quantised")
    cutout_store.write(store, split(store, whole))
    seen, read = cutout_store.pack(whole, quantised=True).stamps(), cutout_store.read(store, 0, 21)
    np.testing.assert_array_equal(read.image, seen.image)
    np.testing.assert_array_equal(read.ivar, seen.ivar)


@pytest.mark.parametrize("filled", [np.nan, 0.0, 7.5])
def test_cutouts_without_weight_or_light_can_be_quantised(filled: float) -> None:
    image = np.full((3, 2, 6, 6), filled, np.float32)
    packed = cutout_store.pack(Stamps(image, np.zeros_like(image), np.ones(image.shape, np.uint32)), quantised=True)
    np.testing.assert_allclose(packed.stamps().image, image, rtol=1e-4)


@pytest.mark.parametrize("codec", ["none", "lz4", "quantised"])
def test_a_store_may_keep_some_rows_and_says_so_where_others_are_asked_for(tmp_path: Path, codec: str) -> None:
    whole, kept = sky(21), (2, 3, 7, 16, 20)
    store = cutout_store.create(
        tmp_path,
        bands=("g", "r"),
        pixel_scale=0.3,
        rows=21,
        size=6,
        chunk=4,
        shard=8,
        codec=codec,
        seeing={},
        kept=kept,
    )
    parts = {index: cutout_store.pack(part, store.quantised) for index, part in enumerate(split(store, whole))}
    cutout_store.write_kept(store, ((index, parts[index]) for index in (0, 2)))
    again = cutout_store.open_store(tmp_path)
    assert again.kept == kept
    expected = cutout_store.pack(whole, store.quantised).stamps()
    for row in kept:
        np.testing.assert_array_equal(cutout_store.read(again, row, row + 1).image[0], expected.image[row])
    with pytest.raises(ProductMismatch, match="only 2 were kept"):
        cutout_store.read(again, 1, 4)
    assert np.isnan(cutout_store.read_packed(again, 0).stamps().image[4]).all()
    with pytest.raises(ProductMismatch, match="3 cutouts written, 5 are to be kept"):
        cutout_store.write_kept(store, [(0, parts[0])])


@pytest.mark.parametrize("codec", ["lz4", "quantised"])
def test_a_reader_gives_each_cutout_as_a_read_of_it_does(tmp_path: Path, codec: str) -> None:
    whole = stamps(21)
    store = make(tmp_path, 21, codec)
    cutout_store.write(store, split(store, whole))
    read = cutout_store.reader(store)
    for row in (20, 0, 7, 8, 7):
        one, other = read(row), cutout_store.read(store, row, row + 1)
        np.testing.assert_array_equal(one.image.view(np.uint32), other.image.view(np.uint32))
        np.testing.assert_array_equal(one.ivar, other.ivar)
        np.testing.assert_array_equal(one.mask, other.mask)


def test_a_reader_notices_that_its_store_was_removed(tmp_path: Path) -> None:
    store = make(tmp_path, 8)
    cutout_store.write(store, [stamps(8)])
    read = cutout_store.reader(store)
    read(1)
    shutil.rmtree(store.path)
    with pytest.raises(FileNotFoundError, match="has been removed"):
        read(2)
