"""Point sources and galaxies among the neighbours of real lenses, in frames whose PSF is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import ConfigError
from pipeline.evaluate.anomalies.config import PointSourcesConfig
from pipeline.evaluate.anomalies.points import open_against_neighbours, psf_fwhm
from pipeline.evaluate.config import BaselineConfig, RealLensesConfig
from pipeline.evaluate.samples.lenses import open_real_lenses

BANDS, SCALE = ("g", "i"), 0.25
FRAMES = {"a": 1.0, "b": 1.2}
"""FWHM of the PSF, arcsec."""


def frame(seed: int, objects: list[tuple[float, ...]]) -> np.ndarray:
    """Sky of noise 1 with (x, y, FWHM) in arcsec from the middle, and how bright if not 1, 120 px a side."""
    y, x = (np.mgrid[:120, :120] - 59.5) * SCALE
    image = np.random.default_rng(seed).normal(0, 1, (120, 120))
    for dx, dy, fwhm, *flux in objects:
        sigma = fwhm / 2.3548
        image += (
            sum(flux or [1])
            * 3e3
            * SCALE**2
            / (2 * np.pi * sigma**2)
            * np.exp(-0.5 * ((x - dx) ** 2 + (y - dy) ** 2) / sigma**2)
        )
    return image


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Each with a pair in the middle, fainter or brighter, a star, a galaxy 1.6 times as wide, and one between."""
    (tmp_path / "stamps").mkdir()
    for seed, (name, fwhm) in enumerate(FRAMES.items()):
        flux = (0.3, 3.0)[seed]
        objects = [(0.5, 0, fwhm, flux), (2.5, 0, fwhm, flux), (-8, -8, fwhm), (8, 8, 1.6 * fwhm), (-8, 8, 1.2 * fwhm)]
        images = [fits.ImageHDU(frame(seed + 10 * band, objects), name=key) for band, key in enumerate(BANDS)]
        fits.HDUList([fits.PrimaryHDU(), *images]).writeto(tmp_path / "stamps" / f"{name}.fits")
    (tmp_path / "labels.csv").write_text("name,cls\na,quasar\nb,quasar\n")
    return tmp_path


def config(folder: Path, **more: object) -> RealLensesConfig:
    values = {
        "name": "real",
        "column": "real",
        "kind": "stamps",
        "stamps": str(folder / "stamps"),
        "labels": str(folder / "labels.csv"),
        "bands": BANDS,
        "pixel_scale": "0.25 arcsec",
        "size": "12 arcsec",
        "magnitude_quantiles": (0.0, 1.0),
        "match_padding": False,
        **more,
    }
    return RealLensesConfig.model_validate(values)


def points(**more: object) -> PointSourcesConfig:
    return PointSourcesConfig.model_validate({"fwhm": ("0.8 arcsec", "1.25 arcsec"), **more})


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_psf_of_a_frame_is_the_width_of_its_star(frames: Path, name: str):
    pixels = np.stack([frame(5, [(-8, -8, FRAMES[name]), (8, 8, 1.6 * FRAMES[name])])] * 2).astype(np.float32)
    assert psf_fwhm(pixels, config(frames), points()) == pytest.approx(FRAMES[name], rel=0.03)


def test_a_frame_without_a_star_has_no_psf(frames: Path):
    for objects in ([], [(8.0, 8.0, 1.9)], [(0.0, 0.0, 1.0)], [(8.0, 8.0, 1.0), (8.0, 6.0, 1.0)]):
        pixels = np.stack([frame(6, objects)] * 2).astype(np.float32)
        assert np.isnan(psf_fwhm(pixels, config(frames), points()))


def test_neighbours_as_sharp_as_the_psf_of_their_own_frame_are_point_sources(frames: Path):
    against = open_against_neighbours(config(frames), points(), BaselineConfig(), 1)
    assert [sample.name for sample in against] == ["real against point sources", "real against galaxies"]
    stars, galaxies = against
    # The third neighbour of each frame, 1.2 times as wide as the PSF, is neither.
    for sample in (stars, galaxies):
        assert sample.lens.tolist() == [True, True, False, False]
        assert sample.truth["name"].tolist() == ["a", "b", "a", "b"]
        assert sample.truth["distance"][2:] == pytest.approx([np.hypot(8, 8)] * 2, abs=0.1)
        shown = np.concatenate([part.image for part in sample.parts()])
        assert (shown[3] == sample.stamp(3).image).all()
    assert not (np.concatenate([p.image for p in stars.parts()])[2:] == galaxies.stamp(2).image).all()
    assert any("2 of 6 neighbours are point sources" in note for note in stars.notes)


def test_a_lens_can_be_cut_about_what_is_detected(frames: Path):

    def brightest_column(**more: object) -> int:
        image = open_real_lenses(config(frames, **more), BaselineConfig(), 1).stamp(1).image[1]
        return int(image.sum(axis=0).argmax())

    # 0.5 or 2.5 arcsec are 2 or 10 px to the right of the middle, which is at 23.5.
    assert brightest_column() in (25, 26, 33, 34)
    assert brightest_column(centred="object") in (23, 24)
    assert brightest_column(centred="object", largest_offset="0.2 arcsec") in (25, 26, 33, 34)


def test_what_cannot_be_told_is_said(frames: Path):
    with pytest.raises(ConfigError, match=r"points\.band is 'r', but its stamps have g, i"):
        open_against_neighbours(config(frames), points(band="r"), BaselineConfig(), 1)
    with pytest.raises(ConfigError, match="none of its neighbours is among the galaxies"):
        open_against_neighbours(config(frames), points(extended=9.0), BaselineConfig(), 1)
    with pytest.raises(ValueError, match="is above extended"):
        points(point=2.0)
    with pytest.raises(ValueError, match="is not below"):
        points(fwhm=("1.3 arcsec", "1.0 arcsec"))
