"""Cutouts a second, side by side in one run: ours, plain slicing, Cutout2D, astrocut and cutana.

    ./install.sh bench
    python tests/benchmarks/bench_cutouts.py [--side 10000] [--number 20000] [--rice-side 4000] [--rounds 3]
                                             [--clock wall] [--json FILE]

Three bands of float32 in plain FITS, stamps of 64 pixels at random places in the order of the rows, as
detections are cut. What is compared is the way from planes to an array (n, band, 64, 64). astrocut and
cutana start from the files, as they must, and are given fewer stamps. Medians of the rounds, the methods
taking turns. With `--clock cpu` processor time is taken for wall time, which tells the same of one thread on a machine
that others use too.

From RICE the limit is the decoding: every band at once to an array of float32, by astropy and by rustfits where that
is installed, the quicker one of the two, and nothing done with the pixels. Ours opens the same files, reads the same
pixels with `pipeline.io.fits` in blocks as high as a scan takes them with its default memory, and cuts all the stamps
as well. All of them run on one core and read files from the page cache. Files of noise without and with a dither, as
Pan-STARRS and VISTA ship theirs. Stamps may be so dense that copying them takes a good part of the time: 640 of 64
pixels a million pixels are 2.6 pixels written for each that is decoded.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.nddata import Cutout2D
from astropy.wcs import WCS

from pipeline.field import Field, FieldImage, PixelBlock, sealed_block
from pipeline.geometry import to_sky
from pipeline.io.fits import open_plane
from pipeline.scan.background import Mesh
from pipeline.scan.cutouts import cut, slice_stamps
from pipeline.scan.detect import Detections
from pipeline.scan.detect_ids import spatial_index
from pipeline.scan.masks import FieldMasks
from pipeline.scan.masks_flags import STRIP_ROWS, FoundFlags, packed
from pipeline.scan_config import CutoutsConfig, VetConfig

SIZE = 64
BANDS = ("g", "r", "i")
SHARD = 2000
BLOCK_BYTES = 2e9 / 24
"""Of the image of a block: a scan's memory over the planes and the passing ones that it counts for each pixel."""
DITHERS = {"RICE": -1, "dithered RICE": 1}
"""astropy's numbers of no dither and of the first subtractive one."""

Planes = np.ndarray | list[np.ndarray]


def write_bands(folder: Path, side: int) -> tuple[list[Path], WCS]:
    """Three plain FITS files of noise on one grid."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [side / 2, side / 2]
    wcs.wcs.cdelt = [-0.2 / 3600, 0.2 / 3600]
    random = np.random.default_rng(0)
    paths = []
    for band in BANDS:
        path = folder / f"tile-{band}.fits"
        image = random.standard_normal((side, side), np.float32)
        header = wcs.to_header()
        header["MAGZERO"] = 31.4
        header["FILTER"] = band
        fits.writeto(path, image, header)
        paths.append(path)
    return paths, wcs


def write_rice(folder: Path, side: int, name: str) -> list[Path]:
    """Three RICE-compressed files of noise in tiles of a row, a sixteenth of the noise a step, as surveys ship them."""
    quantised = {"quantize_level": 16, "quantize_method": DITHERS[name], "dither_seed": 4747}
    random = np.random.default_rng(2)
    paths = []
    for band in BANDS:
        path = folder / f"{name}-{band}.fits"
        image = random.standard_normal((side, side), np.float32)
        fits.CompImageHDU(image, compression_type="RICE_1", **quantised).writeto(path)
        paths.append(path)
    return paths


def astropy_decodes(paths: list[Path]) -> np.ndarray:
    """The limit by astropy: every band decoded at once, and nothing done with it; gives the last one."""
    for path in paths:
        with fits.open(path) as hdus:
            band = np.asarray(hdus[1].data)
    return band


def rustfits_decodes(paths: list[Path]) -> np.ndarray:
    """The limit by rustfits, likewise."""
    import rustfits

    for path in paths:
        with rustfits.FITS(str(path)) as hdus:
            band: np.ndarray = hdus[1].read()
    return band


def cut_rice(paths: list[Path], x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """Our way: rows of every band block by block, and the stamps of each block sliced from them."""
    planes = [open_plane(str(path), 1) for path in paths]
    side, half = planes[0].shape[0], SIZE // 2
    # Rows of a stamp's height beyond a block are decoded again with the next one.
    height = int(BLOCK_BYTES / (len(planes) * side))
    for top in range(0, side, height):
        inside = (y - half >= top) & (y - half < top + height)
        low, high = top, min(side, top + height + SIZE)
        for band, plane in enumerate(planes):
            block = plane.read(low, high)
            for start in range(0, int(inside.sum()), SHARD):
                some = slice(start, start + SHARD)
                columns, rows = x[inside][some], y[inside][some] - low
                slice_stamps(block[None], columns, rows, np.float32(np.nan), out[: len(columns), band : band + 1])


def check_rice(paths: list[Path], x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """Our stamps are those sliced from what astropy decodes; of the last band, for some of them."""
    cut_rice(paths, x, y, out)
    expected = out[:, -1:].copy()
    plain([astropy_decodes(paths)], x, y, expected)
    np.testing.assert_array_equal(out[:, -1:], expected)


def rice_works(
    rice: dict[str, list[Path]], x: np.ndarray, y: np.ndarray, out: np.ndarray
) -> dict[str, tuple[Callable[[], object], int]]:
    """What is timed of compressed files: the two decoders, and ours."""
    works: dict[str, tuple[Callable[[], object], int]] = {}
    for kind, paths in rice.items():
        works[f"{kind}, decoded by astropy"] = (partial(astropy_decodes, paths), len(x))
        works[f"{kind}, decoded by rustfits"] = (partial(rustfits_decodes, paths), len(x))
        works[f"ours, {kind}"] = (partial(cut_rice, paths, x, y, out), len(x))
    return works


def against_decoding(kind: str, medians: dict[str, float]) -> dict[str, float]:
    """Ours over each decoder that was there; the quicker one of them is the limit."""
    decoders = {name: medians.get(f"{kind}, decoded by {name}") for name in ("astropy", "rustfits")}
    ratios = {name: medians[f"ours, {kind}"] / value for name, value in decoders.items() if value is not None}
    each = ", ".join(f"{ratio:.2f} of {name}'s" for name, ratio in ratios.items())
    print(f"ours / decode limit, {kind}: {min(ratios.values()):.2f} (reach 0.9; {each})")
    return ratios


def rate(work: Callable[[], object], number: int, clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return number / (clock() - start)


def plain(planes: Planes, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """The least that can be done: one slice a band and stamp."""
    half = SIZE // 2
    for stamp, (column, row) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        for band, plane in enumerate(planes):
            out[stamp, band] = plane[row - half : row + half, column - half : column + half]


def ours(planes: Planes, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """Our slicing: of a cube at once, of separate files band by band."""
    if isinstance(planes, np.ndarray):
        slice_stamps(planes, x, y, np.float32(np.nan), out)
        return
    for band, plane in enumerate(planes):
        slice_stamps(plane[None], x, y, np.float32(np.nan), out[:, band : band + 1])


def cutout2d(planes: Planes, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    for stamp, place in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        for band, plane in enumerate(planes):
            out[stamp, band] = Cutout2D(plane, place, SIZE, mode="partial", fill_value=np.nan).data


def in_shards(cutter: Callable[..., None], planes: Planes, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """Cut shard after shard into the same memory, which is how a scan goes through a field."""
    for start in range(0, len(x), SHARD):
        part = slice(start, start + SHARD)
        cutter(planes, x[part], y[part], out[: len(x[part])])


def astrocut_files(paths: list[Path], ra: np.ndarray, dec: np.ndarray) -> None:
    from astrocut import FITSCutout
    from astropy.coordinates import SkyCoord

    for place in SkyCoord(ra, dec, unit="deg"):
        _ = FITSCutout([str(path) for path in paths], place, SIZE).fits_cutouts


def cutana_files(paths: list[Path], ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    import pandas as pd
    from cutana import create_cutouts_direct, get_default_config

    config = get_default_config()
    config.target_resolution = SIZE
    config.data_type = "float32"
    config.normalisation_method = "none"
    config.apply_flux_conversion = False
    config.selected_extensions = [{"name": band, "ext": "PRIMARY"} for band in BANDS]
    config.channel_weights = {f"tile-{band}": [float(band == one) for one in BANDS] for band in BANDS}
    table = pd.DataFrame(
        {
            "SourceID": [str(number) for number in range(len(ra))],
            "RA": ra,
            "Dec": dec,
            "diameter_pixel": SIZE,
            "fits_file_paths": str([str(path) for path in paths]),
        }
    )
    cutouts: np.ndarray = create_cutouts_direct(table, config, max_workers=1)[0]["cutouts"]
    return cutouts


def whole_line(planes: list[np.ndarray], wcs: WCS, x: np.ndarray, y: np.ndarray) -> None:
    """The scan's own step: image, ivar and mask, background subtracted, flags merged, with statistics."""
    shape = planes[0].shape
    cells = Mesh(np.ones((len(BANDS), 67, 67), np.float32), shape)
    strips = [
        packed(np.zeros((len(BANDS), min(STRIP_ROWS, shape[0] - top), shape[1]), np.uint16))
        for top in range(0, shape[0], STRIP_ROWS)
    ]
    masks = FieldMasks(BANDS, cells, cells, FoundFlags(tuple(strips), (len(BANDS), *shape)))

    def read(y0: int, y1: int) -> PixelBlock:
        image = np.stack([plane[y0:y1] for plane in planes]).astype(np.float32)
        return sealed_block(y0, image, np.ones_like(image), np.zeros(image.shape, np.uint32))

    field = FieldImage(Field("bench", "none", "tile", {}), BANDS, shape, wcs, 0.2, read, has_ivar=False)
    ra, dec = to_sky(wcs, x, y)
    number = len(x)
    rows = Detections(
        np.arange(number),
        np.full(number, None, object),
        ra,
        dec,
        x.astype(float),
        y.astype(float),
        np.full((number, len(BANDS)), np.nan, np.float32),
        spatial_index(ra, dec),
        BANDS,
    )
    for _ in cut(field, masks, rows, CutoutsConfig(size="12.8 arcsec"), VetConfig(), 500):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--number", type=int, default=20_000)
    parser.add_argument("--rice-side", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        paths, wcs = write_bands(Path(name), options.side)
        random = np.random.default_rng(1)
        x, y = random.integers(SIZE, options.side - SIZE, (2, options.number))
        y.sort()
        ra, dec = to_sky(wcs, x, y)
        cube = np.stack([fits.getdata(path).astype(np.float32) for path in paths])
        files = [fits.open(path, memmap=True) for path in paths]
        mapped = [file[0].data for file in files]
        out = np.zeros((SHARD, len(BANDS), SIZE, SIZE), np.float32)
        expected = out[:200].copy()
        plain(cube, x[:200], y[:200], expected)
        for planes in (cube, mapped):
            ours(planes, x[:200], y[:200], out[:200])
            np.testing.assert_array_equal(out[:200], expected)
        rice = {kind: write_rice(Path(name), options.rice_side, kind) for kind in DITHERS}
        rice_x, rice_y = random.integers(SIZE, options.rice_side - SIZE, (2, options.number))
        rice_y.sort()
        for files_of_kind in rice.values():
            check_rice(files_of_kind, rice_x[:200], rice_y[:200], out[:200])
        few, fewer = min(2000, options.number), min(50, options.number)
        works: dict[str, tuple[Callable[[], object], int]] = {
            "plain slicing, RAM": (lambda: in_shards(plain, cube, x, y, out), options.number),
            "ours, RAM": (lambda: in_shards(ours, cube, x, y, out), options.number),
            "plain slicing, memory-mapped FITS": (lambda: in_shards(plain, mapped, x, y, out), options.number),
            "ours, memory-mapped FITS": (lambda: in_shards(ours, mapped, x, y, out), options.number),
            "ours, whole step (3 planes, statistics)": (lambda: whole_line(mapped, wcs, x, y), options.number),
            **rice_works(rice, rice_x, rice_y, out),
            "Cutout2D, RAM": (lambda: in_shards(cutout2d, cube, x[:few], y[:few], out), few),
            "cutana": (lambda: cutana_files(paths, ra[:few], dec[:few]), few),
            "astrocut": (lambda: astrocut_files(paths, ra[:fewer], dec[:fewer]), fewer),
        }
        rates: dict[str, list[float]] = {label: [] for label in works}
        for _ in range(options.rounds):
            for label, (work, number) in list(works.items()):
                try:
                    rates[label].append(rate(work, number, clock))
                except ImportError as error:
                    print(f"{label} left out: {error}")
                    del works[label], rates[label]
        medians = {label: statistics.median(values) for label, values in rates.items()}
        for label, value in medians.items():
            print(f"{label:45s} {value:12,.0f} cutouts/s")
        in_ram = medians["ours, RAM"] / medians["plain slicing, RAM"]
        on_disk = medians["ours, memory-mapped FITS"] / medians["plain slicing, memory-mapped FITS"]
        print(f"ours / plain slicing: RAM {in_ram:.2f} (reach 0.5), memory-mapped {on_disk:.2f} (reach 0.7)")
        on_rice = {kind: against_decoding(kind, medians) for kind in DITHERS}
        if options.json:
            options.json.write_text(json.dumps({"cutouts_per_second": medians, **on_rice}, indent=1) + "\n")
        if "cutana" in medians:
            for label in ("ours, RAM", "ours, memory-mapped FITS", "ours, whole step (3 planes, statistics)"):
                print(f"{label} / cutana: {medians[label] / medians['cutana']:.1f} (reach 20)")
        for file in files:
            file.close()


if __name__ == "__main__":
    main()
