"""A survey of fields that have headers and no pixels: tiles of 4 arcmin that touch, in one band."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
from astropy.io import fits

SIDE = 2420
"""Pixels of 0.1 arcsec: fields overlap their neighbours by a few."""
_STEP = 240 / 3600
_BLOCK = 2880

SURVEY = """
name = "many"
release = "1"
root = "data"
zero_point = [{ magnitude = "31.4 mag" }]
[bands]
VIS = "VIS"
[fields]
id = "{tract}-{patch}"
[planes.image]
path = "{tract}/{patch}.fits"
"""

SCAN = """
scan_id = "many"
survey = "survey.toml"
ensemble = "{ensemble}"
output = "{output}"
bands = ["VIS"]
"""


def write_survey(root: Path, number: int) -> None:
    """Write `survey.toml` and `number` files below `root/data`, each a block of header and a hole for the pixels."""
    template, places = _template()
    size = _BLOCK + -(-4 * SIDE * SIDE // _BLOCK) * _BLOCK
    for index, (ra, dec) in enumerate(_tiles(number)):
        header = bytearray(template)
        for key, value in (("CRVAL1", ra), ("CRVAL2", dec)):
            card = f"{key:8}= {value:20.10f}".encode().ljust(80)
            header[places[key] : places[key] + 80] = card
        folder = root / "data" / f"t{index // 1000:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"p{index % 1000:03d}.fits"
        path.write_bytes(header)
        os.truncate(path, size)
    (root / "survey.toml").write_text(SURVEY)


def _template() -> tuple[bytes, dict[str, int]]:
    hdu = fits.PrimaryHDU(np.zeros((2, 2), np.float32))
    scale = 0.1 / 3600
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": SIDE / 2, "CRPIX2": SIDE / 2}
    cards |= {"CRVAL1": 0.5, "CRVAL2": 0.5, "CD1_1": -scale, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": scale}
    hdu.header.update(cards)
    stream = BytesIO()
    hdu.writeto(stream)
    header = bytearray(stream.getvalue()[:_BLOCK])
    for key in ("NAXIS1", "NAXIS2"):
        place = header.index(key.encode())
        header[place : place + 80] = f"{key:8}= {SIDE:20d}".encode().ljust(80)
    return bytes(header), {key: header.index(key.encode()) for key in ("CRVAL1", "CRVAL2")}


def _tiles(number: int) -> list[tuple[float, float]]:
    tiles: list[tuple[float, float]] = []
    dec = -60.0
    while len(tiles) < number:
        around = int(360 * np.cos(np.radians(dec)) / _STEP)
        tiles += [(column * 360 / around, dec) for column in range(around)]
        dec += _STEP
    return tiles[:number]
