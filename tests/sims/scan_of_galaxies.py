"""A scan's output made by hand: round stars and tilted galaxies on a grid over a few cells of the sky."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.flags import PixelFlag, mask_value
from pipeline.io import cutout_store, ownership, products
from pipeline.sims.config.injection import InjectionConfig
from pipeline.sims.config.load import load_sims

SCALE, SIDE, SIGMA = 0.3, 45, 10.0
STAR, LONG, SHORT, TILT = 0.35, 0.9, 0.6, 0.5
"""Standard deviations in arcsec, and the galaxies' direction in radians from x towards y."""
ROWS, COLUMNS = 12, 12
STEP = 25.0 / 3600
BANDS = ("g", "r", "i")

CONFIG = """
kind = "injection"
scans = ["{scan}"]
population = "population"
bands = ["g", "r", "i"]
detection_band = "r"
size = 32
pixel_scale = "0.4 arcsec"
stamps = 24
shard = 12
lens_share = 0.5
deflector_share = 0.5
deflectors = {{ magnitude = ["17 mag", "20 mag"] }}
mass = {{ theta_E = "population", most = 1000.0 }}
psf = {{ kind = "moffat", fwhm = {{ g = "0.8 arcsec", r = "0.8 arcsec", i = "0.8 arcsec" }}, beta = 50 }}
noise = {{ gain = {{ g = 5.0, r = 4.0 }}, sky_brightness = {{ i = "19.9 mag" }}, correlation = 0.0 }}
rendering = {{ oversampling = 6, margin = "2 arcsec" }}
[sky]
split = "all"
cell = "1 arcmin"
shares = {{ train = 0.4, validation = 0.3, test = 0.3 }}
"""


def write_scan(folder: Path, seed: int = 5) -> Path:
    """144 objects 25 arcsec apart, every third one a galaxy of 19 mag, the others stars of 18.5 mag, in g, r, i."""
    rng = np.random.default_rng(seed)
    count = ROWS * COLUMNS
    ownership.claim(folder, "hand", "hand", "dr1")
    y, x = np.indices((SIDE, SIDE)) - SIDE // 2
    stamps = np.empty((count, 3, SIDE, SIDE), np.float32)
    galaxy = np.arange(count) % 3 == 0
    for number in range(count):
        along = (x * np.cos(TILT) + y * np.sin(TILT)) * SCALE
        across = (y * np.cos(TILT) - x * np.sin(TILT)) * SCALE
        long, short = (LONG, SHORT) if galaxy[number] else (STAR, STAR)
        light = np.exp(-0.5 * ((along / long) ** 2 + (across / short) ** 2)) * SCALE**2 / (2 * np.pi * long * short)
        flux = 10 ** (-0.4 * ((19.0 if galaxy[number] else 18.5) - 31.4))
        stamps[number] = flux * light + rng.normal(0, SIGMA, (3, SIDE, SIDE))
    ivar = np.full(stamps.shape, SIGMA**-2, np.float32)
    mask = np.zeros(stamps.shape, np.uint32)
    stamps[:, :, :, :2], ivar[:, :, :, :2], mask[:, :, :, :2] = np.nan, 0, mask_value(PixelFlag.NODATA)
    generation = products.new_generation(folder, "cutouts", "F", "a" * 64)
    place = folder / products.generation_place("cutouts", "F", generation)
    store = cutout_store.create(
        place, bands=BANDS, pixel_scale=SCALE, rows=count, size=SIDE, chunk=16, shard=count, codec="lz4", seeing={}
    )
    cutout_store.write(store, [cutout_store.Stamps(stamps, ivar, mask)])
    objid = np.arange(count, dtype=np.int64) + 2**60
    table = {
        "objid": objid,
        "row": np.arange(count, dtype=np.int32),
        "valid_fraction": np.full(count, 0.95, np.float32),
        "centre_flags": np.zeros(count, np.uint32),
        "bands_missing": np.zeros(count, np.uint32),
    }
    pq.write_table(pa.table(table), place / "stamps.parquet")
    _publish(folder, "cutouts", generation, count)
    generation = products.new_generation(folder, "detect", "F", "b" * 64)
    place = folder / products.generation_place("detect", "F", generation)
    row, column = np.divmod(np.arange(count), COLUMNS)
    mag = np.where(galaxy, 19.0, 18.5).astype(np.float32)
    table = {
        "objid": objid,
        "ra": 150.0 + column * STEP,
        "dec": 2.0 + row * STEP,
        "x": column * STEP * 3600 / SCALE,
        "y": row * STEP * 3600 / SCALE,
        "mag_g": mag + 1,
        "mag_r": mag,
        "mag_i": mag - 0.5,
    }
    pq.write_table(pa.table(table), place / "detections.parquet")
    _publish(folder, "detect", generation, count)
    return folder


def _publish(folder: Path, stage: str, generation: str, rows: int) -> None:
    digest = {"cutouts": "a", "detect": "b"}[stage] * 64
    products.publish(
        folder, field_id="F", stage=stage, fingerprint=digest, generation=generation, rows=rows, provenance={}
    )


def injection_config(folder: Path, scan: Path, *changes: tuple[str, str]) -> InjectionConfig:
    """The config of this module on a scan, with parts of its text replaced."""
    text = CONFIG.format(scan=scan)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "injection.toml"
    path.write_text(text)
    config = load_sims(path)
    assert isinstance(config, InjectionConfig)
    return config
