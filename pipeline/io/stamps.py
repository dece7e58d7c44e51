"""Ready-made stamps from outside: folders of FITS or pictures, and arrays; and tables of their scores."""

from __future__ import annotations

import csv
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning, AstropyWarning
from astropy.wcs import WCS
from PIL import Image, UnidentifiedImageError

from pipeline.errors import ConfigError

FITS_SUFFIXES = (".fits", ".fits.fz", ".fits.gz", ".fit")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
ARRAY_SUFFIXES = (".npy", ".npz")

_AB_NANOJANSKY = 31.4


@dataclass(frozen=True)
class Stamp:
    """One stamp, or why there is none.

    Attributes
    ----------
    name : str
    pixels : (band, y, x) float32 in nJy, or (y, x, 3) uint8 of red, green, blue; None where unreadable
    reason : str or None
        Why `pixels` is None.
    """

    name: str
    pixels: npt.NDArray[Any] | None
    reason: str | None = None


@dataclass(frozen=True)
class StampSet:
    """Stamps in order, read one at a time.

    Attributes
    ----------
    names : tuple of str
    bands : tuple of str or None
        Along the first axis of float stamps; None for 8-bit colour.
    read : callable (index) -> Stamp
    wcs : callable (index) -> WCS or None
        Of the stamp's first image; None where its file has none.
    """

    names: tuple[str, ...]
    bands: tuple[str, ...] | None
    read: Callable[[int], Stamp]
    wcs: Callable[[int], WCS | None] = lambda _: None

    @property
    def colour(self) -> bool:
        """Whether the stamps are 8-bit red, green, blue."""
        return self.bands is None

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Stamp]:
        return (self.read(index) for index in range(len(self)))


def open_stamps(
    path: Path, bands: tuple[str, ...] | None, default_bands: tuple[str, ...], *, zero_point: float | None = None
) -> StampSet:
    """Find the stamps in a folder or a file; opens none but an array.

    Parameters
    ----------
    path : Path
        A folder of FITS files (one image extension a band, named by EXTNAME or FILTER, else in the order of
        the bands; or one file a band, `NAME_<band>.fits`) or of PNG/JPEG pictures; one such file; or an
        array: `.npy`, or `.npz` with key `image`, float (n, band, y, x) in nJy or uint8 (n, y, x, 3). An
        `.npz` may hold `name` (n,). Files are taken in the order of their names; a
        stamp is called as its file without suffix, or with it where another file is called the same without.
    bands : tuple of str or None
        As asked for; float arrays need them.
    default_bands : tuple of str
        Looked for in FITS files where none are asked for.
    zero_point : mag, optional
        AB magnitude of one unit of the FITS images that have no MAGZERO; without it they are in nJy.

    Raises
    ------
    ConfigError
        If there is nothing to read, or an array has the wrong shape or type, or bands are not as many as
        its second axis, or two files are one band of one stamp.
    """
    if path.is_dir():
        return _open_folder(path, bands or default_bands, zero_point)
    if not path.is_file():
        raise ConfigError(f"{path}: no such file or folder; give stamps as FITS, npy, npz, PNG or JPEG.")
    if _has(path, ARRAY_SUFFIXES):
        return _open_array(path, bands)
    if _has(path, FITS_SUFFIXES):
        return _fits_set([path], bands or default_bands, zero_point)
    if _has(path, PICTURE_SUFFIXES):
        return _pictures([path])
    known = ", ".join((*FITS_SUFFIXES, *ARRAY_SUFFIXES, *PICTURE_SUFFIXES))
    raise ConfigError(f"{path}: suffix {path.suffix!r} is not one of {known}.")


def check_output(path: Path) -> None:
    """Refuse an output whose suffix is neither `.csv` nor `.parquet`, or whose folder is not there."""
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError(f"--output {path}: suffix {path.suffix!r}; use .csv or .parquet.")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--output {path}: folder {path.absolute().parent} does not exist; make it first.")


def write_scores(path: Path, names: Sequence[str], scores: Mapping[str, npt.NDArray[np.float32]]) -> None:
    """Write `name` and score columns as CSV or Parquet by suffix, whole or not at all.

    A NaN score is empty in CSV and null in Parquet.

    Parameters
    ----------
    names : sequence of str
    scores : mapping of column to float32 (n,)
    """
    part = path.with_name(path.name + ".part")
    if path.suffix.lower() == ".parquet":
        columns = {name: pa.array(values, pa.float32(), from_pandas=True) for name, values in scores.items()}
        pq.write_table(pa.table({"name": pa.array(list(names), pa.string()), **columns}), part)
    else:
        with part.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(["name", *scores])
            for row, name in enumerate(names):
                writer.writerow([name, *(_text(values[row]) for values in scores.values())])
    os.replace(part, path)


def _text(value: np.float32) -> str:
    return "" if np.isnan(value) else str(value)


def _has(path: Path, suffixes: Sequence[str]) -> bool:
    return path.name.lower().endswith(tuple(suffixes)) and not path.name.startswith(".")


def _open_folder(path: Path, bands: tuple[str, ...], zero_point: float | None) -> StampSet:
    files = sorted(item for item in path.iterdir() if item.is_file())
    fits_files = [item for item in files if _has(item, FITS_SUFFIXES)]
    pictures = [item for item in files if _has(item, PICTURE_SUFFIXES)]
    if fits_files and pictures:
        raise ConfigError(f"{path}: holds both FITS and pictures; put them into folders of their own.")
    if fits_files:
        return _fits_set(fits_files, bands, zero_point)
    if pictures:
        return _pictures(pictures)
    raise ConfigError(f"{path}: no FITS, PNG or JPEG file in it.")


def _open_array(path: Path, bands: tuple[str, ...] | None) -> StampSet:
    try:
        names: npt.NDArray[Any] | None = None
        if path.suffix.lower() == ".npy":
            array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            with np.load(path, allow_pickle=False) as archive:
                if "image" not in archive.files:
                    raise ConfigError(f"{path}: no key 'image'; it holds {', '.join(archive.files) or 'nothing'}.")
                array = archive["image"]
                names = archive["name"] if "name" in archive.files else None
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise ConfigError(f"{path}: not a numpy array ({error}); save it again with numpy.save or savez.") from error
    if names is not None and names.shape != (len(array),):
        raise ConfigError(f"{path}: 'name' has shape {names.shape}, 'image' {array.shape}; they must match.")
    labels = tuple(str(index) if names is None else str(names[index]) for index in range(len(array)))
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] == 3:
        return StampSet(labels, None, lambda index: Stamp(labels[index], np.asarray(array[index])))
    if array.ndim != 4 or array.dtype.kind not in "fiu" or array.dtype == np.uint8:
        raise ConfigError(
            f"{path}: {array.dtype} of shape {array.shape}; give float (n, band, y, x) in nJy or uint8 (n, y, x, 3)."
        )
    if bands is None:
        raise ConfigError(f"{path}: {array.shape[1]} bands without names; say which with --bands, such as g,r,i.")
    if len(bands) != array.shape[1]:
        raise ConfigError(f"{path}: {array.shape[1]} bands on axis 1, but {len(bands)} names: {', '.join(bands)}.")
    return StampSet(labels, bands, lambda index: Stamp(labels[index], _single(array[index])))


def _pictures(paths: Sequence[Path]) -> StampSet:
    names = _names(paths, lambda path: path.name.rsplit(".", 1)[0])

    def read(index: int) -> Stamp:
        try:
            with Image.open(paths[index]) as picture:
                if picture.mode not in ("RGB", "RGBA", "P"):
                    return Stamp(names[index], None, f"{paths[index]}: mode {picture.mode} is not colour")
                return Stamp(names[index], np.asarray(picture.convert("RGB"), dtype=np.uint8))
        except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            return Stamp(names[index], None, f"{paths[index]}: {error}")

    return StampSet(names, None, read)


def _fits_set(paths: Sequence[Path], bands: tuple[str, ...], zero_point: float | None) -> StampSet:
    """One stamp a file, but files called `NAME_<band>` with the same NAME are one stamp."""
    groups: dict[str, dict[str, Path]] = {}
    for path, stem in zip(paths, _names(paths, _stem), strict=True):
        name, _, band = _stem(path).rpartition("_")
        if name and band in bands:
            same = groups.setdefault(name, {}).setdefault(band, path)
            if same != path:
                raise ConfigError(f"{path}: band {band} of stamp {name!r} is in {same.name} too; take one of them out.")
        else:
            groups.setdefault(stem, {})[""] = path
    # A file of a band that nobody asked for, beside those of the same stamp, is no stamp of its own.
    names = tuple(name for name, files in groups.items() if "" not in files or not _sibling(name, groups))

    def read(index: int) -> Stamp:
        files = groups[names[index]]
        try:
            with warnings.catch_warnings():
                # What astropy warns of and can't read it raises as well.
                warnings.simplefilter("ignore", AstropyUserWarning)
                return Stamp(names[index], _bands_of(files, bands, zero_point))
        # A damaged file provokes anything in astropy, from OSError to TypeError; the stamp is named and counted.
        except (OSError, ValueError, TypeError, KeyError, IndexError, fits.VerifyError) as error:
            return Stamp(names[index], None, f"{next(iter(files.values()))}: {error}")

    return StampSet(names, bands, read, lambda index: _wcs(next(iter(groups[names[index]].values()))))


def _names(paths: Sequence[Path], stem: Callable[[Path], str]) -> tuple[str, ...]:
    """Stems of files; the whole name where several have the same stem, such as `a.png` beside `a.jpg`."""
    times = Counter(map(stem, paths))
    return tuple(stem(path) if times[stem(path)] == 1 else path.name for path in paths)


def _wcs(path: Path) -> WCS | None:
    """The celestial WCS of a file's first image; None where there is none that can be read."""
    try:
        with warnings.catch_warnings(), fits.open(path, memmap=False) as hdus:
            warnings.simplefilter("ignore", AstropyWarning)
            images = (hdu for hdu in hdus if getattr(hdu, "is_image", False) and hdu.shape)
            found = WCS(next(images).header).celestial
    # A damaged header provokes anything, as a damaged image does.
    except (OSError, ValueError, TypeError, KeyError, IndexError, StopIteration, fits.VerifyError):
        return None
    return found if found.has_celestial else None


def _sibling(stem: str, groups: Mapping[str, Mapping[str, Path]]) -> bool:
    name, _, band = stem.rpartition("_")
    return len(band) <= 2 and "" not in groups.get(name, {"": None})


def _bands_of(files: Mapping[str, Path], bands: tuple[str, ...], zero_point: float | None) -> npt.NDArray[np.float32]:
    if "" in files:
        return _extensions(files[""], bands, zero_point)
    missing = [band for band in bands if band not in files]
    if missing:
        raise ValueError(f"no file for band {', '.join(missing)}")
    return _stacked([_first_image(files[band], zero_point) for band in bands])


def _stem(path: Path) -> str:
    suffix = max((s for s in FITS_SUFFIXES if path.name.lower().endswith(s)), key=len)
    return path.name[: -len(suffix)]


def _extensions(path: Path, bands: tuple[str, ...], usual: float | None) -> npt.NDArray[np.float32]:
    """The bands of one file: a plane a band by name, else all planes in the order of the bands, or one cube."""
    with fits.open(path, memmap=False) as hdus:
        images = [hdu for hdu in hdus if getattr(hdu, "is_image", False) and hdu.shape]
        if len(images) == 1 and len(images[0].shape) == 3:
            cube = _nanojansky(images[0], usual)
            if len(cube) != len(bands):
                raise ValueError(f"a cube of {len(cube)} planes for bands {', '.join(bands)}")
            return cube
        found = {band: hdu for band in bands if (hdu := _of_band(images, band)) is not None}
        if not found and len(images) == len(bands):
            found = dict(zip(bands, images, strict=True))
        missing = [band for band in bands if band not in found]
        if missing:
            raise ValueError(f"no image extension for band {', '.join(missing)}")
        return _stacked([_nanojansky(found[band], usual) for band in bands])


def _of_band(images: Sequence[Any], band: str) -> Any | None:
    """The extension whose EXTNAME or FILTER is the band, exactly or else but for upper and lower case."""
    named = [({str(hdu.header.get(key, "")).strip() for key in ("EXTNAME", "FILTER")}, hdu) for hdu in images]
    exact = [hdu for names, hdu in named if band in names]
    near = [hdu for names, hdu in named if band.lower() in {name.lower() for name in names}]
    return next(iter(exact + near), None)


def _first_image(path: Path, usual: float | None) -> npt.NDArray[np.float32]:
    with fits.open(path, memmap=False) as hdus:
        for hdu in hdus:
            if getattr(hdu, "is_image", False) and len(hdu.shape) == 2:
                return _nanojansky(hdu, usual)
    raise ValueError("no two-dimensional image in it")


def _nanojansky(hdu: Any, usual: float | None) -> npt.NDArray[np.float32]:
    """Pixels in nJy: scaled by the AB zero point in MAGZERO, else by the usual one, else as they are."""
    pixels = np.asarray(hdu.data, dtype=np.float64)
    zero_point = hdu.header.get("MAGZERO", usual)
    if zero_point is not None:
        with np.errstate(over="ignore", under="ignore"):
            factor = np.power(10.0, 0.4 * (_AB_NANOJANSKY - float(zero_point)))
        if not 0 < factor < np.inf:
            raise ValueError(f"MAGZERO is {zero_point!r}, which is no AB magnitude")
        pixels = pixels * factor
    return _single(pixels)


def _single(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """As float32; a value beyond its range becomes infinite, and gets no score."""
    with np.errstate(over="ignore"):
        return np.asarray(pixels, dtype=np.float32)


def _stacked(planes: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    shapes = {plane.shape for plane in planes}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ValueError(f"bands of different shape: {', '.join(str(plane.shape) for plane in planes)}")
    return np.stack(planes)
