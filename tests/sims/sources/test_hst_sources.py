"""Real galaxies as sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from pipeline.errors import ConfigError
from pipeline.sims.config.load import load_sims
from pipeline.sims.config.sources import SourcesConfig
from pipeline.sims.config.stamps import SimsConfig
from pipeline.sims.render.lensing import LensedSource, lensed
from pipeline.sims.render.light import Grid
from pipeline.sims.render.mass import Deflector
from pipeline.sims.render.textures import PlacedGalaxy, image_brightness
from pipeline.sims.sources.hst import CATALOGUE, IMAGES, PHOTOMETRY, TEXTURE, cleaned, place, read_galaxies
from pipeline.sims.stamps.simulate import simulate_stamps
from pipeline.splits import SPLITS

NOISE = 0.0025


def gaussian(side: int, x: float, y: float, width: float, flux: float) -> np.ndarray:
    rows, columns = np.indices((side, side))
    light = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * width**2))
    return light * flux / (2 * np.pi * width**2)


def write_sample(folder: Path) -> None:
    """Three galaxies: a good one, one whose photometry is another's, one too faint."""
    rng = np.random.default_rng(2)
    fluxes, magnitudes = (10.0, 10.0, 0.1), (23.44, 21.0, 28.4)
    images = [gaussian(60, 30, 29, 5, flux) + rng.normal(0.01, NOISE, (60, 60)) for flux in fluxes]
    fits.HDUList([fits.PrimaryHDU(images[0]), *(fits.ImageHDU(image) for image in images[1:])]).writeto(folder / IMAGES)
    ids = np.array([11, 12, 13])
    columns = [
        fits.Column("IDENT", "J", array=ids),
        fits.Column("GAL_HDU", "J", array=np.arange(3)),
        fits.Column("PIXEL_SCALE", "D", array=np.full(3, 0.03)),
        fits.Column("NOISE_VARIANCE", "D", array=np.full(3, NOISE**2)),
    ]
    fits.BinTableHDU.from_columns(columns).writeto(folder / CATALOGUE)
    columns = [fits.Column("IDENT", "J", array=ids), fits.Column("ZPHOT", "D", array=np.full(3, 1.2))]
    for band, offset in zip("griz", (0.7, 0.4, 0.0, -0.2), strict=True):
        columns.append(fits.Column(f"HSC_{band}", "D", array=np.array(magnitudes) + offset))
    fits.BinTableHDU.from_columns(columns).writeto(folder / PHOTOMETRY)


def test_only_good_galaxies_are_taken_with_colours_size_and_redshift(tmp_path: Path) -> None:
    write_sample(tmp_path)
    (galaxy,) = read_galaxies(SourcesConfig(hst=str(tmp_path)))
    assert galaxy.source_id == 11
    assert galaxy.redshift == pytest.approx(1.2)
    assert galaxy.colours == pytest.approx((0.3, 0.4, 0.2))
    # Half the light of a Gaussian is inside 1.177 sigma, of five pixels of 0.03 arcsec.
    assert galaxy.radius == pytest.approx(1.177 * 5 * 0.03, rel=0.04)
    assert galaxy.texture.shape == (TEXTURE, TEXTURE)
    assert galaxy.texture.sum() == pytest.approx(1.0, abs=1e-5)
    assert galaxy.texture.min() == 0
    assert not galaxy.texture[[0, -1]].any()


def test_background_and_neighbour_are_taken_off_and_the_flux_is_kept() -> None:
    rng = np.random.default_rng(1)
    stamp = gaussian(80, 40, 40, 4, 10) + gaussian(80, 66, 60, 3, 6) + rng.normal(0.02, NOISE, (80, 80))
    image, snr = cleaned(stamp, NOISE)
    assert image.sum() == pytest.approx(10.0, rel=0.03)
    assert image[55:65, 60:72].max() < 0.02 * image.max()
    assert image.min() == 0
    assert snr > 50


def test_an_empty_stamp_is_no_galaxy() -> None:
    image, snr = cleaned(np.random.default_rng(0).normal(0, NOISE, (40, 40)) - gaussian(40, 20, 20, 4, 5), NOISE)
    assert snr == 0
    assert not image.any()


def test_missing_folder_and_wrong_shares_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sources\.hst"):
        read_galaxies(SourcesConfig(hst=str(tmp_path / "nowhere")))
    with pytest.raises(ValueError, match="add up to 1"):
        SourcesConfig(shares={"train": 0.5, "validation": 0.1, "test": 0.1})
    assert read_galaxies(SourcesConfig()) == ()


def test_a_placed_galaxy_has_the_radius_drawn_but_is_never_blown_up(tmp_path: Path) -> None:
    write_sample(tmp_path)
    config = SourcesConfig(hst=str(tmp_path), radius=("0.1 arcsec", "3 arcsec"), largest_zoom=1.5)
    (galaxy,) = read_galaxies(config)
    rng = np.random.default_rng(1)
    zooms = np.array([place(rng, galaxy, config, (0.3, 0.2)).width for _ in range(200)]) / galaxy.width
    assert zooms.min() == pytest.approx(0.1 / galaxy.radius, rel=0.1)
    assert zooms.max() == 1.5


def lopsided() -> np.ndarray:
    image = gaussian(32, 20, 12, 2.0, 0.7) + gaussian(32, 10, 14, 1.5, 0.3)
    return image.astype(np.float32)


def test_a_galaxy_without_a_lens_keeps_its_flux_and_place() -> None:
    grid = Grid(60, 0.05, 2, 0)
    galaxy = PlacedGalaxy(lopsided(), 0.2, -0.1, 1.6, 0.0, flux=3.0)
    image = lensed([LensedSource(Deflector(0, 0, 1e-6, 0.9, 0), (), (galaxy,))], [grid])[0]
    assert image.sum() == pytest.approx(3.0, rel=1e-3)
    axis = grid.axis()
    # The texture's centroid is at pixel (17, 12.6) of 32: 1.5 to the right of its middle, 2.9 below; 0.05 arcsec each.
    assert (image.sum(axis=0) * axis).sum() / image.sum() == pytest.approx(0.2 + 1.5 * 0.05, abs=2e-3)
    assert (image.sum(axis=1) * axis).sum() / image.sum() == pytest.approx(-0.1 - 2.9 * 0.05, abs=2e-3)


@pytest.mark.parametrize(("angle", "turns"), [(0.0, 0), (np.pi / 2, -1), (np.pi, 2)])
def test_a_turned_galaxy_is_its_image_turned(angle: float, turns: int) -> None:
    grid = Grid(32, 0.05, 1, 0)
    axis = torch.from_numpy(grid.axis())
    x, y = axis[None, None, :].expand(1, 32, 32), axis[None, :, None].expand(1, 32, 32)
    seen = image_brightness([PlacedGalaxy(lopsided(), 0, 0, 1.6, angle)], x, y)[0].numpy()
    np.testing.assert_allclose(seen * 0.05**2, np.rot90(lopsided(), turns), atol=1e-5)


def test_real_galaxies_of_every_split_are_there_once(real_data: Path) -> None:
    config = SourcesConfig(hst=str(real_data / "cosmos-galaxies"))
    parts = [read_galaxies(config.model_copy(update={"split": split})) for split in SPLITS]
    ids = [galaxy.source_id for part in parts for galaxy in part]
    assert sorted(ids) == [galaxy.source_id for galaxy in read_galaxies(config)]
    assert len(set(ids)) == len(ids) > 50
    assert min(map(len, parts)) >= 5


def test_simulated_lenses_have_real_sources_where_a_folder_is_named(tmp_path: Path) -> None:
    write_sample(tmp_path)
    config = load_sims("stamps")
    assert isinstance(config, SimsConfig)
    sources = SourcesConfig(hst=str(tmp_path), hst_share=1.0)
    truth = simulate_stamps(config.model_copy(update={"sources": sources, "quasar_share": 0.0}), 12, seed=1).truth
    lens, near = truth.kind == 0, truth.lens_redshift < 1.2 - config.population.lenses.source_redshift.behind
    assert (truth.source_id[lens & near] == 11).all()
    np.testing.assert_allclose(truth.source_redshift[lens & near], 1.2)
    assert (truth.source_id[~lens] == -1).all()
