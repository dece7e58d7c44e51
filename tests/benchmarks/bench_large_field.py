"""Peak memory of masks, detection and cutouts on a field of 20,000 x 20,000 pixels in four bands.

    python tests/benchmarks/bench_large_field.py [--side 20000] [--memory 1500] [--folder DIR]

The field is noise with sources pasted in, a gap and a trail, in memory-mapped float32 files that are written
first (6.4 GB). The scan's steps run in a process of their own, whose resident peak is printed; pages of the
mapped files that the system keeps are not counted against it where they can be dropped (RssFile).
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from astropy.wcs import WCS

from pipeline.field import Field, FieldImage, PixelBlock, sealed_block
from pipeline.scan.cutouts import cut
from pipeline.scan.detect import detect
from pipeline.scan.masks import find
from pipeline.scan_config import CutoutsConfig, DetectConfig, MasksConfig, VetConfig

BANDS = ("g", "r", "i", "z")
LIMIT_GB = 4.0


def write_field(folder: Path, side: int) -> None:
    """Four planes of noise 1 nJy with the same galaxies in each, a gap in r and a trail in i."""
    random = np.random.default_rng(0)
    number = side * side // 8000
    yy, xx = np.mgrid[-12:13, -12:13]
    shapes = [np.exp(-(xx**2 + yy**2) / (2 * width**2)).astype(np.float32) for width in (1.6, 2.2, 3.0)]
    x, y = random.integers(20, side - 20, (2, number))
    heights = (10 ** random.uniform(0.8, 2.6, number)).astype(np.float32)
    for band in BANDS:
        plane = np.lib.format.open_memmap(folder / f"{band}.npy", "w+", np.float32, (side, side))
        for top in range(0, side, 1000):
            plane[top : top + 1000] = random.standard_normal(plane[top : top + 1000].shape, np.float32)
        for stamp, (column, row) in enumerate(zip(x, y, strict=True)):
            plane[row - 12 : row + 13, column - 12 : column + 13] += heights[stamp] * shapes[stamp % 3]
        if band == "r":
            plane[:, side // 2 : side // 2 + 40] = np.nan
        if band == "i":
            along = np.arange(side)
            for width in range(-2, 3):
                plane[np.clip(along // 2 + width, 0, side - 1), along] += 5
        plane.flush()
        del plane


def open_field(folder: Path, side: int) -> FieldImage:
    """The planes as a lazy field without weights."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [side / 2, side / 2]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]

    def read(y0: int, y1: int) -> PixelBlock:
        # Opened anew for each block, so that mapped pages don't pile up.
        image = np.stack([np.array(np.load(folder / f"{band}.npy", mmap_mode="r")[y0:y1]) for band in BANDS])
        return sealed_block(y0, image, np.ones_like(image), np.zeros(image.shape, np.uint32))

    return FieldImage(Field("bench", "none", "large", {}), BANDS, (side, side), wcs, 0.2, read, has_ivar=False)


def resident_gb() -> float:
    """Resident memory of this process that no file backs, GB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1e6
    return 0.0


def scan(folder: Path, side: int, memory_mb: float) -> None:
    """Masks, detection and cutouts; prints time and peak of each."""
    peak = [0.0]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            peak[0] = max(peak[0], resident_gb())

    threading.Thread(target=watch, daemon=True).start()
    highest = 0.0
    field = open_field(folder, side)

    def told(label: str, since: float) -> None:
        nonlocal highest
        highest = max(highest, peak[0])
        print(f"{label:40s} {time.perf_counter() - since:7.0f} s   peak {peak[0]:.2f} GB", flush=True)
        peak[0] = 0.0

    start = time.perf_counter()
    masks = find(field, MasksConfig(), memory_mb)
    told(f"masks ({sum(map(len, masks.found.strips)) / 1e6:.1f} MB of flags)", start)
    start = time.perf_counter()
    rows = detect(field, masks, DetectConfig(), memory_mb)
    told(f"detect ({len(rows):,} detections)", start)
    start = time.perf_counter()
    number = sum(
        len(shard) for shard in cut(field, masks, rows, CutoutsConfig(size="12 arcsec"), VetConfig(), memory_mb)
    )
    told(f"cut ({number:,} cutouts)", start)
    stop.set()
    print(f"peak of the worker {highest:.2f} GB (reach {LIMIT_GB:.0f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--memory", type=float, default=1500.0)
    parser.add_argument("--folder", type=Path, default=None, help="keeps the field here for another run")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / f"{BANDS[-1]}.npy").exists():
        start = time.perf_counter()
        write_field(folder, options.side)
        print(f"field written in {time.perf_counter() - start:.0f} s", flush=True)
    worker = multiprocessing.get_context("spawn").Process(target=scan, args=(folder, options.side, options.memory))
    worker.start()
    worker.join()
    if options.folder is None:
        shutil.rmtree(folder)
    if worker.exitcode:
        raise SystemExit(worker.exitcode)


if __name__ == "__main__":
    main()
