"""Folders of stamps: one for each class, or one without labels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from pipeline.errors import ConfigError
from pipeline.io.npz import UNREADABLE, open_archive
from pipeline.io.pools import plain_kinds
from pipeline.io.stamps import ARRAY_SUFFIXES, FITS_SUFFIXES, PICTURE_SUFFIXES, StampSet, open_stamps
from pipeline.models import colour
from pipeline.train.data_config import FoldersConfig, GridConfig, StampsConfig
from pipeline.train.sources.opened import AT_ONCE, Opened, Part, Rows, in_part, indices

_HEADERS_READ = 2000
"""Most headers of a folder that are looked at for their pixel scale, evenly spread."""

_SCALE_TOLERANCE = 0.02
"""Between a header's pixel scale and the config's; less is the distortion across a camera."""


@dataclass(frozen=True)
class _Items:
    """Stamps by name; `read` gives (band, y, x) float32 in the wanted bands."""

    names: tuple[str, ...]
    read: Callable[[int], npt.NDArray[np.float32]]


def open_folders(config: FoldersConfig, bands: tuple[str, ...]) -> Opened:
    """A folder, or an array file, for lenses and one for the rest.

    A folder holds FITS files or pictures as `pipeline.io.stamps.open_stamps` reads them, or `.npy` and `.npz`
    (key `image`) of one stamp (band, y, x) or several (n, band, y, x).

    Raises
    ------
    ConfigError
        If a folder is missing or empty, or its stamps are not of the bands or the pixel scale.
    """
    root = Path(config.path)
    prefix = f"{config.split}_" if config.split else ""
    classes = [
        (_items(_place(root, prefix + name), config, bands), label)
        for name, label in ((config.lenses, True), (config.nonlenses, False))
    ]
    lens = np.concatenate([np.full(len(items.names), label) for items, label in classes])
    names = tuple(name for items, _ in classes for name in items.names)
    edge = len(classes[0][0].names)

    def read(row: int) -> npt.NDArray[np.float32]:
        return classes[0][0].read(row) if row < edge else classes[1][0].read(row - edge)

    return _opened(config, str(config), names, lens, plain_kinds(lens), read)


def open_unlabelled(config: StampsConfig, bands: tuple[str, ...]) -> Opened:
    """A folder or array file of stamps without labels, in the forms of `open_folders`; raises ConfigError."""
    items = _items(Path(config.path), config, bands)
    kind = np.full(len(items.names), "unlabelled")
    return _opened(config, config.path, items.names, np.zeros(len(kind), np.bool_), kind, items.read)


def parts(rows: Rows, read: Callable[[int], npt.NDArray[np.float32]], pixel_scale: float) -> Iterator[Part]:
    """Stamps that are read one at a time, neighbours of one shape together."""
    waiting: list[npt.NDArray[np.float32]] = []
    for row in rows.tolist():
        image = read(row)
        if waiting and (len(waiting) == AT_ONCE or waiting[0].shape != image.shape):
            yield Part(np.stack(waiting), pixel_scale)
            waiting = []
        waiting.append(image)
    if waiting:
        yield Part(np.stack(waiting), pixel_scale)


def _opened(
    config: GridConfig,
    text: str,
    names: tuple[str, ...],
    lens: npt.NDArray[np.bool_],
    kind: npt.NDArray[np.str_],
    read: Callable[[int], npt.NDArray[np.float32]],
) -> Opened:
    kept = in_part(config, names, text)
    return Opened(
        text,
        lens[kept],
        kind[kept],
        lambda rows: parts(kept[rows], read, config.pixel_scale),
        lambda row: f"{text}: {names[kept[row]]}",
    )


def _place(root: Path, name: str) -> Path:
    for path in (root / name, *(root / f"{name}{suffix}" for suffix in ARRAY_SUFFIXES)):
        if path.exists():
            return path
    there = sorted(path.name for path in root.iterdir())[:8] if root.is_dir() else []
    held = f"it holds {', '.join(there)}" if there else "it is empty or not there"
    raise ConfigError(f"{root}: no {name}/ and no {name}.npy; {held}. Set split, lenses and nonlenses to its names.")


def _items(path: Path, config: GridConfig, bands: tuple[str, ...]) -> _Items:
    held = config.bands or bands
    if not path.exists():
        raise ConfigError(f"{path}: no such file or folder; mend the source's path.")
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    kinds = {suffixes: _with(files, suffixes) for suffixes in (ARRAY_SUFFIXES, FITS_SUFFIXES, PICTURE_SUFFIXES)}
    there = [found for found in kinds.values() if found]
    if not there:
        raise ConfigError(f"{path}: no .npy, .npz, FITS, PNG or JPEG file in it; put stamps there, or mend the path.")
    if len(there) > 1:
        raise ConfigError(f"{path}: files of several forms ({there[0][0].name}, {there[1][0].name}); divide them.")
    if arrays := kinds[ARRAY_SUFFIXES]:
        return _array_items(arrays, config, held, bands)
    if kinds[FITS_SUFFIXES]:
        _check_scales(kinds[FITS_SUFFIXES], config.pixel_scale)
    stamps = open_stamps(path, held, held)
    if stamps.colour:
        return _Items(stamps.names, _pictures(stamps, config, bands, path))
    order = indices(held, bands, str(path))
    return _Items(stamps.names, lambda row: _good(stamps, row)[order])


def _with(files: Sequence[Path], suffixes: tuple[str, ...]) -> list[Path]:
    return [path for path in files if path.name.lower().endswith(suffixes) and not path.name.startswith(".")]


def _good(stamps: StampSet, row: int) -> npt.NDArray[Any]:
    stamp = stamps.read(row)
    if stamp.pixels is None:
        raise ConfigError(f"{stamp.reason}; mend the file or take it out of the folder.")
    return stamp.pixels


def _pictures(
    stamps: StampSet, config: GridConfig, bands: tuple[str, ...], path: Path
) -> Callable[[int], npt.NDArray[np.float32]]:
    order = _colour_order(config, bands, str(path))
    return lambda row: np.ascontiguousarray(colour.fluxes(_good(stamps, row)[None])[0, order])


def _colour_order(config: GridConfig, bands: tuple[str, ...], text: str) -> list[int]:
    if config.bands is not None:
        raise ConfigError(f"{text}: 8-bit colour stands for i, r, g; leave the source's bands out.")
    return indices(colour.BANDS, bands, text)


def _array_items(files: list[Path], config: GridConfig, held: tuple[str, ...], bands: tuple[str, ...]) -> _Items:
    """Stamps of array files: all of them where a file has four axes, one where it has fewer."""
    counts = [_count(path, len(held)) for path in files]
    ends = np.cumsum([1 if count is None else count for count in counts])
    names = tuple(
        name
        for path, count in zip(files, counts, strict=True)
        for name in ([path.name] if count is None else [f"{path.name}[{row}]" for row in range(count)])
    )

    @lru_cache(maxsize=1)
    def opened(number: int) -> npt.NDArray[Any]:
        return _array(files[number])

    def read(row: int) -> npt.NDArray[np.float32]:
        number = int(np.searchsorted(ends, row, side="right"))
        array = opened(number)
        pixels = array if counts[number] is None else array[row - int(ends[number])]
        if array.dtype == np.uint8:
            order = _colour_order(config, bands, str(files[number]))
            return np.ascontiguousarray(colour.fluxes(pixels[None])[0, order])
        cube = pixels[None] if pixels.ndim == 2 else pixels
        if len(cube) != len(held):
            raise ConfigError(
                f"{files[number]}: {len(cube)} bands, but {len(held)} are expected ({', '.join(held)}); "
                "set the source's bands to those of the files."
            )
        with np.errstate(over="ignore"):
            return np.asarray(cube[indices(held, bands, str(files[number]))], np.float32)

    return _Items(names, read)


def _count(path: Path, bands: int) -> int | None:
    """Stamps in an array file; None where it is one stamp itself."""
    array = _array(path)
    colours = array.dtype == np.uint8
    if array.dtype.kind not in "fiu" or (colours and array.shape[-1:] != (3,)):
        raise ConfigError(f"{path}: {array.dtype} of shape {array.shape}; give float (band, y, x) or uint8 (y, x, 3).")
    if array.ndim == 4:
        return len(array)
    if array.ndim == 3 or (array.ndim == 2 and bands == 1):
        return None
    raise ConfigError(f"{path}: an array of shape {array.shape}; give (band, y, x) or (n, band, y, x).")


def _array(path: Path) -> npt.NDArray[Any]:
    """Mapped from an `.npy`, read from an `.npz`; never unpickled."""
    try:
        if path.suffix.lower() == ".npy":
            mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
            return mapped
        with open_archive(path) as archive:
            if "image" not in archive.names:
                raise ConfigError(f"{path}: no key 'image'; it holds {', '.join(archive.names) or 'nothing'}.")
            return archive.whole("image")
    except UNREADABLE as error:
        raise ConfigError(f"{path}: not a numpy array of numbers ({error}); save it again with numpy.save.") from error


def _check_scales(files: Sequence[Path], pixel_scale: float) -> None:
    """Refuse FITS files whose WCS says other pixels than the config; those without a WCS are believed."""
    for index in np.unique(np.linspace(0, len(files) - 1, min(len(files), _HEADERS_READ)).astype(np.int64)).tolist():
        found = _header_scale(files[index])
        if found is not None and abs(found / pixel_scale - 1) > _SCALE_TOLERANCE:
            raise ConfigError(
                f"{files[index]}: pixels of {found:.4g} arcsec by its header, but the source says {pixel_scale:g}; put "
                "stamps of one pixel scale into a source of their own."
            )


def _header_scale(path: Path) -> float | None:
    """Arcsec a pixel by the first celestial header of a file; None where there is none, or the file is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path) as hdus:
                for hdu in hdus:
                    header = hdu.header
                    if not str(header.get("CTYPE1", "")).startswith(("RA--", "DEC-", "GLON", "GLAT")):
                        continue
                    if "CD1_1" in header or "CD1_2" in header:
                        cd = [float(header.get(f"CD{i}_{j}", 0)) for i in (1, 2) for j in (1, 2)]
                        return 3600 * math.sqrt(abs(cd[0] * cd[3] - cd[1] * cd[2]))
                    if "CDELT1" in header and "CDELT2" in header:
                        return 3600 * math.sqrt(abs(float(header["CDELT1"]) * float(header["CDELT2"])))
    # A damaged file is named when its pixels are read.
    except (OSError, ValueError, TypeError, KeyError, fits.VerifyError):
        return None
    return None
