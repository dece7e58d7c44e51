"""Cutouts in shards, by codec, beside `.npy` memory maps: speed of writing and reading, and size, in one run.

    python tests/benchmarks/bench_shards.py [--cutouts 4000] [--size 64] [--rounds 5] [--json FILE] [--folder DIR]

Image, ivar and mask of cutouts in three bands, as a scan writes and scores them, two thousand a shard. Images are
noise with sources on it; weights are a field's noise map, with the pixels of a gap at 0; one cutout in six has flagged
pixels. `.npy` is three memory maps, written a shard at a time, and read by copying.

Rates are MB of what is in memory, so that codecs compare. Shares of `.npy` are by the clock and, in brackets, by the
seconds of the processor, all threads counted, which other work on the machine hardly changes. Nothing is forced to
disk; `--folder /dev/shm` keeps the disk out of it altogether. Freed memory stays in the process, as in the processes
of a scan: without that, page faults are most of what is measured. Medians of the rounds, the codecs taking turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.flags import PixelFlag
from pipeline.io import cutout_store
from pipeline.io.cutout_store import Stamps
from pipeline.scan.background import Mesh
from pipeline.scan_config import CutoutsConfig
from workflows.allocator import keep_freed_memory

BANDS = ("g", "r", "i")
CODECS = ("none", "lz4", "zstd", "quantised")
SHARD, CHUNK = 2000, CutoutsConfig().chunk
REACH = {"none": (0.70, 0.40), "chosen": (0.35, 0.40)}


def cutouts(number: int, size: int) -> Stamps:
    """Cutouts like those of a survey that states no weights."""
    random = np.random.default_rng(0)
    shape = (number, len(BANDS), size, size)
    side = 40 * size
    noise = Mesh(random.uniform(0.8, 1.6, (len(BANDS), 12, 12)).astype(np.float32), (side, side))
    around = noise.rows(0, side)
    yy, xx = np.mgrid[:size, :size] - size // 2
    image, ivar = np.empty(shape, np.float32), np.empty(shape, np.float32)
    mask = np.zeros(shape, np.uint32)
    for stamp in range(number):
        x, y = random.integers(0, side - size, 2)
        sigma = around[:, y : y + size, x : x + size]
        width, height = random.uniform(1.5, 4.0), 10 ** random.uniform(0.5, 3.0)
        light = height * np.exp(-np.hypot(xx, yy * random.uniform(1, 2)) / width)
        image[stamp] = light + sigma * random.standard_normal((len(BANDS), size, size), np.float32)
        ivar[stamp] = 1 / (sigma * sigma)
        if stamp % 6 == 0:
            gap = slice(*sorted(random.integers(0, size, 2)))
            image[stamp, :, :, gap], ivar[stamp, :, :, gap] = np.nan, 0
            mask[stamp, :, :, gap] = PixelFlag.NODATA
    return Stamps(image, ivar, mask)


def shards(stamps: Stamps) -> list[Stamps]:
    spans = [slice(first, first + SHARD) for first in range(0, len(stamps.image), SHARD)]
    return [Stamps(stamps.image[s], stamps.ivar[s], stamps.mask[s]) for s in spans]


def write_npy(folder: Path, stamps: Stamps) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("image", "ivar", "mask"):
        plane = getattr(stamps, name)
        target = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", plane.dtype, plane.shape)
        for first in range(0, len(plane), SHARD):
            target[first : first + SHARD] = plane[first : first + SHARD]


def read_npy(folder: Path, number: int) -> None:
    for first in range(0, number, SHARD):
        for name in ("image", "ivar", "mask"):
            np.array(np.load(folder / f"{name}.npy", mmap_mode="r")[first : first + SHARD])


def write_store(folder: Path, codec: str, stamps: Stamps) -> None:
    folder.mkdir(exist_ok=True)
    number, _, size, _ = stamps.image.shape
    store = cutout_store.create(
        folder,
        bands=BANDS,
        pixel_scale=0.2,
        rows=number,
        size=size,
        chunk=CHUNK,
        shard=SHARD,
        codec=codec,
        seeing={},
    )
    cutout_store.write(store, shards(stamps))


def read_store(folder: Path) -> None:
    store = cutout_store.open_store(folder)
    for index in range(store.shards):
        cutout_store.read_shard(store, index)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - processor


def check(folder: Path, codec: str, stamps: Stamps) -> None:
    """Nothing is lost but half a step of an image's pixel."""
    read = cutout_store.read(cutout_store.open_store(folder), 0, len(stamps.image))
    np.testing.assert_array_equal(read.ivar, stamps.ivar)
    np.testing.assert_array_equal(read.mask, stamps.mask)
    if codec != "quantised":
        np.testing.assert_array_equal(read.image, stamps.image)
        return
    np.testing.assert_array_equal(np.isnan(read.image), np.isnan(stamps.image))
    off = np.nanmax(np.abs(read.image - stamps.image), axis=(2, 3))
    peak = np.nanmax(np.abs(stamps.image), axis=(2, 3), initial=0.0, where=np.isfinite(stamps.image))
    weight = np.where(stamps.ivar > 0, stamps.ivar, np.inf).min(axis=(2, 3))
    assert (off <= 0.51 * np.maximum(1 / np.sqrt(weight) / 16, peak / 32767)).all()


def works(folder: Path, name: str, stamps: Stamps) -> dict[str, Callable[[], object]]:
    """What is timed of `.npy` or a codec."""
    place = folder / name
    if name == "npy":
        return {"write": lambda: write_npy(place, stamps), "read": lambda: read_npy(place, len(stamps.image))}
    return {"write": lambda: write_store(place, name, stamps), "read": lambda: read_store(place)}


def measure(folder: Path, stamps: Stamps, rounds: int) -> dict[str, dict[str, float]]:
    names = ("npy", *CODECS)
    size = (stamps.image.nbytes + stamps.ivar.nbytes + stamps.mask.nbytes) / 1e6
    took: dict[tuple[str, str], list[tuple[float, float]]] = {(n, w): [] for n in names for w in ("write", "read")}
    for turn in range(rounds + 1):
        for name in names:
            for what, work in works(folder, name, stamps).items():
                # The first turn makes the files and loads the libraries; it is looked at and not counted.
                found = seconds(work)
                if turn:
                    took[name, what].append(found)
            if turn == 0 and name != "npy":
                check(folder / name, name, stamps)
    answer: dict[str, dict[str, float]] = {}
    for name in names:
        there = sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())
        answer[name] = {"size": there / 1e6 / size}
        for what in ("write", "read"):
            pairs = list(zip(took["npy", what], took[name, what], strict=True))
            answer[name][what] = size / statistics.median(mine[0] for _, mine in pairs)
            answer[name][f"{what}_share"] = statistics.median(limit[0] / mine[0] for limit, mine in pairs)
            answer[name][f"{what}_processor"] = statistics.median(limit[1] / mine[1] for limit, mine in pairs)
    return answer


def show(found: dict[str, dict[str, float]], chosen: str) -> None:
    print("| codec | write, MB/s | of .npy | read, MB/s | of .npy | size |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, one in found.items():
        cells = [
            f"{one[what]:,.0f} | {one[f'{what}_share']:.0%} ({one[f'{what}_processor']:.0%})"
            for what in ("write", "read")
        ]
        print(f"| {f'**{name}**' if name == chosen else name} | {' | '.join(cells)} | {one['size']:.2f} |")
    for label, name in (("none", "none"), ("chosen", chosen)):
        write, read = REACH[label]
        one = found[name]
        print(
            f"{name}: write {one['write_share']:.0%} (reach {write:.0%}), "
            f"read {one['read_share']:.0%} (reach {read:.0%})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cutouts", type=int, default=4000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--folder", type=Path, help="where files are written; a temporary folder by default")
    options = parser.parse_args()
    keep_freed_memory()
    stamps = cutouts(options.cutouts, options.size)
    chosen = CutoutsConfig().codec
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        found = measure(Path(name), stamps, options.rounds)
    show(found, chosen)
    if options.json:
        values: dict[str, Any] = {"chosen": chosen, "cutouts": options.cutouts, "size": options.size, "codecs": found}
        options.json.write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
