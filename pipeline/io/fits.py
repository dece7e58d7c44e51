"""Image planes of FITS files, read lazily by rows.

A plain plane is read through a memory map that lives for one call, so that pages of a 1.5 GB file never count
as this process's memory for longer than a block; `np.memmap` + `astype` measures as fast as `np.fromfile`.
A tile-compressed plane (RICE, GZIP, HCOMPRESS) is decoded by rows, RICE by `pipeline.io.fits_rice` and the others by
astropy. Only where one compression tile is higher than `TALL_TILE` rows, or the whole file is gzipped or bzipped, is
the plane decoded once and kept.
Files are opened for each read and closed again: a reader holds no handle and can be sent to another process.
Of an object of a store, headers are read by small ranges, a plain plane by the ranges of its rows, and a compressed one
whole; see `pipeline.io.scratch`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits

from pipeline.errors import BadSurveyData
from pipeline.io.fits_rice import RiceLayout, rice_layout, rice_rows
from pipeline.io.fits_sources import FitsSource, looked_at

TALL_TILE = 512
"""Compression tiles higher than this many rows are decoded once, not once a block."""

_IMAGES = (fits.PrimaryHDU, fits.ImageHDU, fits.CompImageHDU)


@dataclass
class FitsPlane:
    """One two-dimensional image HDU, known by its header until rows are asked for.

    Attributes
    ----------
    path : str
    index : int
        Number of the HDU, 0 for the primary.
    shape : (ny, nx)
    header, primary : astropy.io.fits.Header
        Of the plane itself (of the image inside, where it is compressed) and of the file's first HDU.
    """

    path: str
    index: int
    shape: tuple[int, int]
    header: fits.Header
    primary: fits.Header
    _source: FitsSource
    _bitpix: int
    _offset: int | None
    _rice: RiceLayout | None
    _keep: bool
    _kept: npt.NDArray[Any] | None = field(default=None, repr=False)

    @property
    def where(self) -> str:
        """File and HDU, as error messages name them."""
        return f"{self.path} [HDU {self.index}{_named(self.header)}]"

    @property
    def is_integer(self) -> bool:
        """Whether the stored pixels are integers that no scale turns into real numbers."""
        return self._bitpix > 0 and self._scale()[0] == 1 and float(self._scale()[1]).is_integer()

    def keyword(self, name: str) -> Any:
        """A keyword of the plane, else of the file's primary header, else None."""
        value = self.header.get(name)
        return self.primary.get(name) if value is None or value == "" else value

    def read(self, y0: int, y1: int) -> npt.NDArray[np.float32]:
        """Rows `y0:y1` as float32 (y, x) in native byte order, BSCALE and BZERO applied, BLANK as NaN.

        Raises
        ------
        BadSurveyData
            If the file has changed, ends early or holds broken compressed data.
        """
        stored = self._stored(y0, y1)
        # What is kept may not be changed by the caller; all else is his already.
        data = stored.astype(np.float32, order="C", copy=self._kept is not None)
        if self._bitpix > 0:
            scale, zero = self._scale()
            if scale != 1 or zero != 0:
                data = (stored.astype(np.float64) * scale + zero).astype(np.float32)
            blank = self.header.get("BLANK")
            if blank is not None:
                data[stored == int(blank)] = np.nan
        return data

    def read_integers(self, y0: int, y1: int) -> npt.NDArray[np.integer[Any]]:
        """Rows `y0:y1` as integers (y, x), BZERO applied; what masks are made of. BLANK keeps its number.

        The type is the stored one, native; int64 where there is a BZERO.

        Raises
        ------
        BadSurveyData
            Also if the plane holds real numbers.
        """
        if not self.is_integer:
            raise BadSurveyData(f"{self.where}: holds real numbers where mask bits or codes are expected; check `hdu`.")
        stored = self._stored(y0, y1)
        zero = int(self._scale()[1])
        return stored.astype(np.int64) + zero if zero else stored

    def _scale(self) -> tuple[float, float]:
        return float(self.header.get("BSCALE", 1)), float(self.header.get("BZERO", 0))

    def _stored(self, y0: int, y1: int) -> npt.NDArray[Any]:
        """Rows as stored: unscaled integers, or real numbers."""
        if not 0 <= y0 <= y1 <= self.shape[0]:
            raise ValueError(f"rows {y0}:{y1} are not inside 0:{self.shape[0]} of {self.where}")
        if self._offset is not None:
            return self._mapped(y0, y1)
        if self._kept is not None:
            return self._kept[y0:y1]
        with self._source.bytes(0, self._source.size) as name, _reading(self.where):
            if self._rice is not None:
                with open(name, "rb") as file:
                    return rice_rows(self._rice, file, y0, y1)
            return self._by_astropy(name, y0, y1)

    def _by_astropy(self, name: str, y0: int, y1: int) -> npt.NDArray[Any]:
        with _opened(name, self.path) as hdus:
            hdu = hdus[self.index]
            if self._keep:
                self._kept = np.asarray(hdu.data)
                return self._kept[y0:y1]
            rows: npt.NDArray[Any] = np.asarray(hdu.section[y0:y1])
            return rows

    def _mapped(self, y0: int, y1: int) -> npt.NDArray[Any]:
        kind = "u" if self._bitpix == 8 else "f" if self._bitpix < 0 else "i"
        dtype = np.dtype(f">{kind}{abs(self._bitpix) // 8}")
        offset, row = self._offset or 0, self.shape[1] * dtype.itemsize
        with _reading(self.where), self._source.bytes(offset + y0 * row, offset + y1 * row) as name:
            mapped = np.memmap(name, dtype, "r", offset, self.shape)
            rows = mapped[y0:y1]
            return rows.astype(rows.dtype.newbyteorder("="))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None}


def open_plane(path: str, hdu: int | str | None = None) -> FitsPlane:
    """Find an image HDU and check that the file holds all of it; no pixel is read.

    Parameters
    ----------
    path : str
    hdu : int, str or None
        Number, EXTNAME (or EXTTYPE, where HSC's cutouts keep it), or None for the first two-dimensional image.

    Raises
    ------
    BadSurveyData
        If there is no such file or HDU, if it is not a two-dimensional image, or if the file ends before it does.
    """
    with looked_at(path) as (source, file), _opened(file, path) as hdus:
        index = _find(hdus, hdu, path)
        found = hdus[index]
        header = found.header.copy()
        where = f"{path} [HDU {index}{_named(header)}]"
        if not isinstance(found, _IMAGES):
            raise BadSurveyData(f"{where}: is a {type(found).__name__}, not an image; check `hdu`.")
        if len(found.shape) != 2:
            raise BadSurveyData(f"{where}: has shape {found.shape} where an image (y, x) is expected; check `hdu`.")
        compressed = isinstance(found, fits.CompImageHDU)
        info = found.fileinfo()
        _check_length(source, where, info)
        bitpix = int(header["BITPIX"])
        keep = source.packed or _tile_rows(found) > TALL_TILE
        return FitsPlane(
            path=path,
            index=index,
            shape=(int(found.shape[0]), int(found.shape[1])),
            header=header,
            primary=hdus[0].header.copy(),
            _source=source,
            _bitpix=bitpix,
            _offset=None if compressed or source.packed else int(info["datLoc"]),
            _rice=_rice_layout(file, info) if compressed and not keep else None,
            _keep=keep,
        )


def read_table(path: str, hdu: int | str | None, columns: list[str] | None = None) -> dict[str, npt.NDArray[Any]]:
    """Columns of a FITS binary table in native byte order.

    Parameters
    ----------
    path : str
    hdu : int, str or None
        None is the first binary table.
    columns : list of str or None
        None is all of them; names are compared without regard to case, as FITS has it.

    Raises
    ------
    BadSurveyData
        If file, table or a column is missing; the message lists the columns there are.
    """
    with (
        looked_at(path) as (source, _),
        source.bytes(0, source.size) as name,
        _opened(name, path) as hdus,
        _reading(path),
    ):
        index = _find(hdus, hdu, path, kind=(fits.BinTableHDU, fits.TableHDU))
        table = hdus[index]
        if not isinstance(table, fits.BinTableHDU | fits.TableHDU):
            raise BadSurveyData(f"{path} [HDU {index}]: is not a table; check `hdu` of the survey's TOML.")
        _check_length(source, f"{path} [HDU {index}]", table.fileinfo())
        present = {name.lower(): name for name in table.columns.names}
        wanted = list(table.columns.names) if columns is None else columns
        absent = [name for name in wanted if name.lower() not in present]
        if absent:
            raise BadSurveyData(
                f"{path} [HDU {index}]: no column {', '.join(absent)}; it has {', '.join(present.values())}."
            )
        return {name: _native(np.array(table.data[present[name.lower()]])) for name in wanted}


def _native(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return column if column.dtype.kind in "OSU" else column.astype(column.dtype.newbyteorder("="))


@contextmanager
def _opened(file: Any, path: str) -> Iterator[fits.HDUList]:
    """The HDUs of a local file, by its name, or of a stream."""
    with warnings.catch_warnings():
        # astropy only warns of a truncated file; `_check_length` says so as an error.
        warnings.simplefilter("ignore")
        try:
            hdus = fits.open(file, memmap=isinstance(file, str), lazy_load_hdus=True, do_not_scale_image_data=True)
        except (OSError, ValueError, fits.VerifyError, EOFError) as error:
            _raise_if_of_the_system(error)
            raise BadSurveyData(f"{path}: not a readable FITS file ({error}); fetch it again.") from error
        with hdus:
            yield hdus


@contextmanager
def _reading(where: str) -> Iterator[None]:
    try:
        yield
    except (BadSurveyData, MemoryError):
        raise
    except Exception as error:
        # Decoders raise what they like: zlib.error, BadGzipFile, and a private type of astropy.
        _raise_if_of_the_system(error)
        raise BadSurveyData(f"{where}: its data cannot be read ({error}); fetch the file again.") from error


def _raise_if_of_the_system(error: Exception) -> None:
    """Let an error of the disk or network through, which may pass when tried again; only those have an errno."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _find(hdus: fits.HDUList, hdu: int | str | None, path: str, kind: tuple[type, ...] = _IMAGES) -> int:
    try:
        if isinstance(hdu, int):
            _ = hdus[hdu]
            return hdu
        for index, candidate in enumerate(hdus):
            if hdu is None:
                flat = candidate.header.get("NAXIS") == 2
                if isinstance(candidate, kind) and (kind != _IMAGES or flat):
                    return index
            elif hdu.upper() in (candidate.name.upper(), str(candidate.header.get("EXTTYPE", "")).strip().upper()):
                return index
    except (IndexError, KeyError, OSError, ValueError, TypeError, fits.VerifyError) as error:
        raise BadSurveyData(f"{path}: cannot reach HDU {hdu!r} ({error}); check `hdu`, or fetch it again.") from error
    names = ", ".join(f"{index}{_named(item.header)}" for index, item in enumerate(hdus))
    wanted = "with a two-dimensional image" if hdu is None else repr(hdu)
    raise BadSurveyData(f"{path}: no HDU {wanted}; it has {names}. Check `hdu` of the survey's TOML.")


def _named(header: fits.Header) -> str:
    name = str(header.get("EXTNAME", "")).strip()
    return f" {name}" if name else ""


def _check_length(source: FitsSource, where: str, info: dict[str, Any] | None) -> None:
    if source.packed or info is None:
        return
    # The padding of the last block may be missing and no pixel with it.
    needed = int(info["datLoc"]) + max(0, int(info["datSpan"]) - 2879)
    if source.size < needed:
        raise BadSurveyData(
            f"{where}: truncated, {source.size} bytes where at least {needed} are needed; fetch it again."
        )


def _rice_layout(file: Any, info: dict[str, Any]) -> RiceLayout | None:
    """The layout of a compressed image, from the header of its table, which astropy hides."""
    start, stop = int(info["hdrLoc"]), int(info["datLoc"])
    if isinstance(file, str):
        with open(file, "rb") as stream:
            stream.seek(start)
            text = stream.read(stop - start)
    else:
        file.seek(start)
        text = file.read(stop - start)
    return rice_layout(fits.Header.fromstring(text), stop)


def _tile_rows(hdu: Any) -> int:
    return int(hdu.tile_shape[0]) if isinstance(hdu, fits.CompImageHDU) else 0
