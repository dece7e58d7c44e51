"""Injection into folders of real stamps: what is read of them, and how it is dealt out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import ConfigError
from pipeline.flags import PixelFlag
from pipeline.sims.config.injection import InjectionConfig
from pipeline.sims.config.load import load_sims
from pipeline.sims.inject.plan import prepare
from pipeline.sims.inject.simulate import inject_stamps
from pipeline.splits import split_of

SCALE, SIDE, FILES, NOISE = 0.05, 121, 12, 0.02
LONG, SHORT = 0.5, 0.35
"""Standard deviations of the galaxies, arcsec."""
FLUX = 60.0
"""Of a galaxy in counts, 100 nJy each."""

CONFIG = """
kind = "injection"
population = {{ file = "population", lenses = {{ theta_E = ["0.4 arcsec", "2.0 arcsec"] }} }}
bands = ["VIS"]
detection_band = "VIS"
size = 64
pixel_scale = "0.1 arcsec"
stamps = 16
shard = 16
lens_share = 0.5
deflector_share = 0.5
deflectors = {{ magnitude = ["20 mag", "23 mag"], centre_radius = "1 arcsec" }}
mass = {{ theta_E = "population", most = 1000.0 }}
psf = {{ kind = "moffat", fwhm = {{ VIS = "0.2 arcsec" }}, beta = 3.5 }}
noise = {{ sky_brightness = {{ VIS = "22.3 mag" }}, correlation = "measured" }}
rendering = {{ oversampling = 2, margin = "0.8 arcsec" }}
[sky]
split = "all"
shares = {{ train = 0.4, validation = 0.2, test = 0.4 }}
[galaxies]
kind = "stamps"
path = "{path}"
pixel_scale = "0.05 arcsec"
zero_point = "26.4 mag"
size = "5.0 arcsec"
aperture = "2.0 arcsec"
"""


def write_stamps(folder: Path, places: tuple[tuple[float, float], ...] = ((60.0, 60.0),), side: int = SIDE) -> Path:
    """Files with a WCS and a galaxy at each place (x, y)."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    y, x = np.indices((side, side))
    for number in range(FILES):
        image = rng.normal(0.5, NOISE, (side, side))
        for px, py in places:
            light = np.exp(-0.5 * (((x - px) * SCALE / LONG) ** 2 + ((y - py) * SCALE / SHORT) ** 2))
            image += FLUX * light * SCALE**2 / (2 * np.pi * LONG * SHORT)
        header = fits.Header()
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
        header["CRPIX1"], header["CRPIX2"] = 61.0, 61.0
        header["CRVAL1"], header["CRVAL2"] = 150.0 + number, 2.0
        header["CDELT1"], header["CDELT2"] = -SCALE / 3600, SCALE / 3600
        fits.writeto(folder / f"g{number}.fits", image.astype(np.float32), header)
    return folder


def read(tmp_path: Path, path: Path, more: str = "", split: str = "all") -> InjectionConfig:
    config = tmp_path / "injection.toml"
    config.write_text(CONFIG.format(path=path).replace('split = "all"', f'split = "{split}"') + more)
    loaded = load_sims(config)
    assert isinstance(loaded, InjectionConfig)
    return loaded


def test_middles_are_read_in_nanojansky_with_their_place_and_noise(tmp_path: Path) -> None:
    objects = prepare(read(tmp_path, write_stamps(tmp_path / "s")), []).objects
    assert len(objects) == FILES
    held = objects.fields[0].read(0, FILES)
    assert held.image.shape == (FILES, 1, 100, 100)
    inside = 1 - np.exp(-(2.0**2) / (2 * LONG * SHORT))
    np.testing.assert_allclose(objects.mags[:, 0], 31.4 - 2.5 * np.log10(100 * FLUX * inside), atol=0.08)
    np.testing.assert_allclose(held.ivar, (100 * NOISE) ** -2, rtol=0.25)
    np.testing.assert_allclose(objects.ra, 150.0 + np.array([0, 1, 10, 11, *range(2, 10)]), atol=1e-6)
    np.testing.assert_allclose(objects.dec, 2.0, atol=1e-6)
    assert len(np.unique(objects.objid)) == FILES


def test_a_split_holds_the_files_of_its_hash_alone(tmp_path: Path) -> None:
    folder = write_stamps(tmp_path / "s")
    shares = {"train": 0.4, "validation": 0.2, "test": 0.4}
    seen = set()
    for split in ("train", "test"):
        stamps = inject_stamps(prepare(read(tmp_path, folder, split=split), []), 16, 1)
        names = set(stamps.truth.field_id.tolist())
        assert names
        assert all(split_of(name, shares) == split for name in names)
        assert not seen & names
        seen |= names


def test_stamps_are_smaller_than_the_pool_and_the_rim_is_missing(tmp_path: Path) -> None:
    stamps = inject_stamps(prepare(read(tmp_path, write_stamps(tmp_path / "s")), []), 16, 1)
    assert set(stamps.truth.kind.tolist()) == {0, 1, 2}
    known = np.isfinite(stamps.image[:, 0])
    assert known[:, 8:56, 8:56].all()
    assert not known[:, :6].any()
    assert (stamps.mask[:, 0][~known] & PixelFlag.NODATA).all()
    lenses = stamps.label == 1
    assert (stamps.arc[lenses].sum(axis=(1, 2)) > 0).all()
    assert np.isfinite(stamps.truth.ra).all()


def test_another_telescope_sees_the_same_flux_wider_and_noisier(tmp_path: Path) -> None:
    folder = write_stamps(tmp_path / "s")
    more = 'grid = "0.1 arcsec"\nseeing = { own = "0.1 arcsec", wanted = "1.0 arcsec" }\n'
    sharp = prepare(read(tmp_path, folder), []).objects
    wide = prepare(read(tmp_path, folder, more), []).objects
    noisy = prepare(read(tmp_path, folder, more + 'depth = { VIS = ["24.0 mag", "24.0 mag"] }\n'), []).objects
    assert wide.fields[0].store.size == 50
    assert wide.fields[0].store.pixel_scale == 0.1
    stack = wide.fields[0].read(0, FILES).image.mean(axis=0)[0].astype(np.float64)
    y, x = (np.indices(stack.shape) - 24.5) * 0.1
    near = np.hypot(x, y) < 2.4
    variance = [(stack * axis**2)[near].sum() / stack[near].sum() for axis in (x, y)]
    # The pixel's own box is in the images of both; moments stop at the circle.
    wanted = [side**2 + (1.0**2 - 0.1**2) / 2.3548**2 + 0.1**2 / 12 for side in (LONG, SHORT)]
    np.testing.assert_allclose(variance, wanted, rtol=0.08)
    np.testing.assert_allclose(wide.mags, sharp.mags, atol=0.15)
    # 5 sigma at 24.0 mag, over sqrt(4 pi s^2) pixels of 0.1 arcsec.
    sigma = 10 ** (0.4 * (31.4 - 24.0)) / 5 / np.sqrt(4 * np.pi * (1.0 / 2.3548 / 0.1) ** 2)
    np.testing.assert_allclose(noisy.fields[0].read(0, 1).ivar, sigma**-2, rtol=0.01)
    corner = noisy.fields[0].read(0, FILES).image[:, 0, :8, :8]
    assert corner.std() == pytest.approx(sigma, rel=0.1)


def test_neighbours_are_the_objects_away_from_the_middle(tmp_path: Path) -> None:
    folder = write_stamps(tmp_path / "s", ((100.0, 100.0), (100.0, 170.0)), side=201)
    more = 'which = "neighbours"\nleast_distance = "2.5 arcsec"\nmost_missing = 0.2\n'
    objects = prepare(read(tmp_path, folder, more), []).objects
    assert len(objects) == FILES
    np.testing.assert_allclose(objects.y, 170.0, atol=0.5)
    np.testing.assert_allclose(objects.dec, 2.0 + 110 * SCALE / 3600, atol=1e-5)
    assert (objects.valid < 1).all()
    assert (objects.valid >= 0.8).all()


def test_wrong_folders_are_named(tmp_path: Path) -> None:
    folder = write_stamps(tmp_path / "s")
    (folder / "bad.fits").write_bytes(b"SIMPLE  = nonsense")
    with pytest.raises(ConfigError, match=r"1 of 13 stamps in .* can't be read, such as .*bad\.fits"):
        prepare(read(tmp_path, folder), [])
    for more, message in (
        ('depth = { VIS = ["25 mag", "26 mag"] }\n', "give seeing too"),
        ('seeing = { own = "0.2 arcsec", wanted = "0.1 arcsec" }\n', "sharper than the stamps' own"),
        ('which = "center"\n', "centre"),
    ):
        with pytest.raises(ConfigError, match=message):
            read(tmp_path, folder, more)
    text = CONFIG.format(path=folder).replace('kind = "injection"', 'kind = "injection"\nscans = ["a"]', 1)
    (tmp_path / "both.toml").write_text(text)
    with pytest.raises(ConfigError, match="either scans or galaxies"):
        load_sims(tmp_path / "both.toml")
