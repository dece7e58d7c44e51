"""Files of a synthetic survey: planes written strip by strip, the survey's TOML, tables of the truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.wcs import WCS

from pipeline.flags import PixelFlag
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.render.photometry import AB_NANOJANSKY


def field_wcs(config: SkyConfig, origin: tuple[int, int], plane: tuple[int, int]) -> WCS:
    """TAN projection of a field: that of the plane, with the field's first pixel at `origin` (x, y) of it.

    Fields share one tangent point, as patches of a tract do, so an object has the same place within a pixel in each.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [config.layout.ra, config.layout.dec]
    ny, nx = plane
    wcs.wcs.crpix = [(nx - 1) / 2 - origin[0] + 1, (ny - 1) / 2 - origin[1] + 1]
    wcs.wcs.cdelt = [-config.pixel_scale / 3600, config.pixel_scale / 3600]
    wcs.wcs.set()
    return wcs


class StripWriter:
    """A FITS image written a few rows at a time, from the first row on; a context manager."""

    def __init__(self, path: Path, shape: tuple[int, int], dtype: str, wcs: WCS, cards: Mapping[str, Any]) -> None:
        header = fits.Header()
        header["SIMPLE"], header["BITPIX"], header["NAXIS"] = True, {"f4": -32, "u1": 8, "i4": 32}[dtype], 2
        header["NAXIS1"], header["NAXIS2"] = shape[1], shape[0]
        header.update(wcs.to_header())
        for key, value in cards.items():
            header[key] = value
        self._dtype = np.dtype(dtype).newbyteorder(">")
        self._left = shape[0]
        self._bytes = 0
        self._stream = path.open("wb")
        self._stream.write(header.tostring(padding=True).encode("ascii"))

    def write(self, rows: npt.NDArray[Any]) -> None:
        """Append rows (y, x)."""
        data = rows.astype(self._dtype).tobytes()
        self._stream.write(data)
        self._bytes += len(data)
        self._left -= len(rows)

    def __enter__(self) -> StripWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.write(b"\0" * (-self._bytes % 2880))
        self._stream.close()


def mask_bits(config: SkyConfig) -> dict[PixelFlag, int]:
    """Which bit of the survey's own mask stands for a flag."""
    return {PixelFlag[name]: bit for bit, name in enumerate(config.mask_plane)}


def native_mask(mask: npt.NDArray[np.uint32], bits: Mapping[PixelFlag, int]) -> npt.NDArray[np.uint8]:
    """A truth mask in the survey's own bits, without what the survey doesn't tell of."""
    native = np.zeros(mask.shape, np.uint8)
    for flag, bit in bits.items():
        native |= ((mask & np.uint32(flag)) != 0).astype(np.uint8) << np.uint8(bit)
    return native


def survey_text(config: SkyConfig) -> str:
    """The survey's TOML, in the format of `configs/surveys`."""
    bands = "\n".join(f'{band} = "{band}"' for band in config.bands)
    lines = [
        "# A synthetic survey, written by lensscan simulate; the truth is in truth.parquet and artefacts.parquet.",
        f"name = {json.dumps(config.name)}",
        f"release = {json.dumps(config.release)}",
        'root = "."',
        'zero_point = [{ keyword = "MAGZERO" }]',
        "",
        "[bands]",
        bands,
        "",
        "[planes.image]",
        'path = "{field_id}/{field_id}_{native}.fits"',
        "",
        "[planes.ivar]",
        'path = "{field_id}/{field_id}_{native}_ivar.fits"',
        "",
    ]
    if config.mask_plane:
        meaning = ", ".join(f"{flag.name} = [{bit}]" for flag, bit in mask_bits(config).items())
        lines += ["[planes.mask]", 'path = "{field_id}/{field_id}_{native}_mask.fits"', f"bits = {{ {meaning} }}", ""]
    lines += ["[fields]", 'keys = { field_id = "[a-z0-9-]+" }', "", "[meta.seeing]", 'keyword = "SEEING"', ""]
    return "\n".join(lines)


def image_cards(config: SkyConfig, band: str, field_id: str) -> dict[str, Any]:
    """Header cards of an image."""
    return {
        "MAGZERO": (AB_NANOJANSKY, "AB magnitude of a pixel value of 1"),
        "BUNIT": "nJy",
        "FILTER": band,
        "SEEING": (config.seeing[band], "PSF FWHM, arcsec"),
        "OBJECT": field_id,
    }


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table of the truth as Parquet."""
    pq.write_table(table, path, compression="zstd")


MASS_COLUMNS = ("e1", "e2", "shear_1", "shear_2", "convergence", "slope", "source_x", "source_y")
"""What is told of a planted lens's mass and source; names and meaning as in `pipeline.sims.truth.Truth`."""

LENS_SCHEMA = pa.schema(
    [
        ("lens_id", pa.int64()),
        ("field_id", pa.string()),
        ("ra", pa.float64()),
        ("dec", pa.float64()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("theta_E", pa.float64()),
        ("arc_snr", pa.float64()),
        ("arc_share", pa.float64()),
        ("lens_mag", pa.float64()),
        ("source_mag", pa.float64()),
        ("red_source", pa.bool_()),
        ("clear", pa.bool_()),
        *((name, pa.float64()) for name in MASS_COLUMNS),
    ]
)
"""truth.parquet: one row a lens; `field_id` is the field that it lies deepest in, x and y its 0-based pixels there."""

ARTEFACT_SCHEMA = pa.schema(
    [
        ("field_id", pa.string()),
        ("kind", pa.string()),
        ("bands", pa.string()),
        ("ra", pa.float64()),
        ("dec", pa.float64()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("angle", pa.float64()),
        ("half_length", pa.float64()),
        ("half_width", pa.float64()),
    ]
)
"""artefacts.parquet: one row an artefact and field; centre and extents in pixels, angle in degrees from x to y."""

OBJECT_SCHEMA = pa.schema(
    [
        ("ra", pa.float64()),
        ("dec", pa.float64()),
        ("x", pa.float64()),
        ("y", pa.float64()),
        ("mag_r", pa.float64()),
        ("is_star", pa.bool_()),
    ]
)
"""<field>/<field>_objects.parquet: galaxies and stars whose centres are in the field, without lenses."""
