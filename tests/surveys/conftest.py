"""Tiny surveys: FITS files of a few hundred pixels in any layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from pipeline.surveys import Survey, open_survey

SHAPE = (30, 40)


def wcs_cards(ra: float = 150.0, dec: float = 2.0, scale: float = 0.2) -> dict[str, Any]:
    ny, nx = SHAPE
    return {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": ra,
        "CRVAL2": dec,
        "CRPIX1": (nx + 1) / 2,
        "CRPIX2": (ny + 1) / 2,
        "CD1_1": -scale / 3600,
        "CD1_2": 0.0,
        "CD2_1": 0.0,
        "CD2_2": scale / 3600,
    }


def sky(seed: int = 0, level: float = 1.0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(0, level, SHAPE).astype(np.float32)


def write(path: Path, *planes: Any, primary: dict[str, Any] | None = None) -> Path:
    """Write one array as the primary HDU, or several (name, array, header, compressed) as extensions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if len(planes) == 1 and isinstance(planes[0], np.ndarray):
        hdus: list[Any] = [fits.PrimaryHDU(planes[0])]
        hdus[0].header.update(primary if primary is not None else wcs_cards())
    else:
        hdus = [fits.PrimaryHDU()]
        hdus[0].header.update(primary or {})
        for name, array, header, compressed in planes:
            # Real numbers are kept as they are, so that a test can compare them.
            kind = {"compression_type": "GZIP_2", "quantize_level": 0} if array.dtype.kind == "f" else {}
            hdu = fits.CompImageHDU(array, **kind) if compressed else fits.ImageHDU(array)
            hdu.header.update(header)
            if name:
                hdu.name = name
            hdus.append(hdu)
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


@pytest.fixture
def tiny_survey(tmp_path: Path) -> Callable[..., Survey]:
    """A survey of one field F1 in g and r with image, ivar and mask, and any change to its TOML."""

    def make(extra: str = "", ivar: bool = True, mask: bool = True, head: str = "", folder: str = "data") -> Survey:
        root = tmp_path / folder
        for number, band in enumerate("gr"):
            if not (root / f"F1/F1_{band}.fits").exists():
                write(root / f"F1/F1_{band}.fits", sky(number, 3.0))
                write(root / f"F1/F1_{band}_ivar.fits", np.full(SHAPE, 0.25, np.float32))
                write(root / f"F1/F1_{band}_mask.fits", np.zeros(SHAPE, np.int16))
        text = f'name = "tiny"\nrelease = "t1"\nroot = "{folder}"\n'
        text += head or 'zero_point = [{ keyword = "MAGZERO" }, { unit = "nJy" }]\n'
        text += '[bands]\ng = "g"\nr = "r"\n[planes.image]\npath = "{field_id}/{field_id}_{native}.fits"\n'
        text += '[planes.ivar]\npath = "{field_id}/{field_id}_{native}_ivar.fits"\n' if ivar else ""
        if mask:
            text += '[planes.mask]\npath = "{field_id}/{field_id}_{native}_mask.fits"\n'
            text += "bits = { SATURATED = [1], COSMIC_RAY = [4, 5] }\n"
        (tmp_path / "survey.toml").write_text(text + extra, encoding="utf-8")
        return open_survey(tmp_path / "survey.toml")

    return make


@pytest.fixture
def write_fits() -> Callable[..., Path]:
    return write


@pytest.fixture
def noise() -> Callable[..., np.ndarray[Any, Any]]:
    return sky


@pytest.fixture
def cards() -> Callable[..., dict[str, Any]]:
    return wcs_cards
