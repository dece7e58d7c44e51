"""PSFs as images, from stars and from PSFEx files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import ConfigError
from pipeline.io.cutout_store import Stamps
from pipeline.sims.config.psf import MeasuredPsf
from pipeline.sims.inject.noise import correlation_weights
from pipeline.sims.psf.images import ImagePsf, image_psf, image_transfer, transfers
from pipeline.sims.psf.psfex import psfex_at, read_psfex
from pipeline.sims.psf.shapes import measure_shapes
from pipeline.sims.psf.stars import measured_psf, star_locus
from pipeline.sims.render.conditions import correlated_noise
from pipeline.sims.render.image import Psf, convolved
from pipeline.sims.render.light import Grid

SCALE = 0.3
MOFFAT = Psf(np.array([0.75, 1.0]), 3.0)


def starlight(psf: Psf | ImagePsf, size: int, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """A star of flux 1 at (x, y) arcsec, float (band, size, size); each 1/45 arcsec is a fine pixel."""
    grid = Grid(size, SCALE, 15, 8)
    point = np.zeros((1, 1, grid.fine, grid.fine), np.float32)
    middle = (grid.fine - 1) / 2
    point[0, 0, round(middle + y / grid.step), round(middle + x / grid.step)] = 1
    return convolved(point, transfers([psf], [grid]), grid)[0]


def test_an_image_of_the_psf_renders_what_the_profile_renders() -> None:
    # Rendered stars are effective PSFs; put in as one, they give the same stars between pixels, too.
    images = image_psf(starlight(MOFFAT, 41), SCALE)
    for x, y in ((0.0, 0.0), (0.14, -0.06)):
        expected, got = starlight(MOFFAT, 21, x, y), starlight(images, 21, x, y)
        assert np.abs(got - expected).max() < 0.012 * expected.max()
        assert got.sum() == pytest.approx(expected.sum(), rel=0.02)


def test_transfer_function_is_one_at_rest_and_nothing_beyond_the_samples() -> None:
    psf = image_psf(starlight(MOFFAT, 21), SCALE)
    grid = Grid(32, SCALE, 3, 0)
    transfer = image_transfer(psf, grid)
    assert transfer.shape == (2, 96, 49)
    assert transfer[:, 0, 0] == pytest.approx([1, 1], abs=1e-5)
    assert not transfer[:, :, 17:].any()  # 1 / (2 x 0.3 arcsec) is 16 of 96 x 0.1 arcsec


def test_width_is_that_of_the_profile_and_a_pixel() -> None:
    psf = image_psf(starlight(MOFFAT, 31), SCALE)
    assert psf.fwhm == pytest.approx([0.75, 1.0], rel=0.06)
    assert (psf.fwhm > MOFFAT.fwhm).all()


def test_a_psf_without_light_is_refused() -> None:
    with pytest.raises(ValueError, match="positive sum"):
        image_psf(np.zeros((1, 5, 5)), SCALE)


def field(count: int, rng: np.random.Generator) -> Stamps:
    image = np.stack([4000 * starlight(MOFFAT, 45, *rng.uniform(-0.15, 0.15, 2)) for _ in range(count)])
    image[::4] = 0.5 * (image[::4] + np.roll(image[::4], 2, axis=-1) + np.roll(image[::4], -3, axis=-2))
    image += rng.normal(0, 5, image.shape)
    return Stamps(image.astype(np.float32), np.full(image.shape, 0.04, np.float32), np.zeros(image.shape, np.uint32))


def test_stars_of_a_field_give_back_its_psf() -> None:
    rng = np.random.default_rng(3)
    stamps = field(24, rng)
    config = MeasuredPsf(kind="measured", magnitude=("17 mag", "21 mag"), radius="3.5 arcsec")
    psf = measured_psf(stamps, np.full(24, 19.0, np.float32), SCALE, config, "here")
    expected = image_psf(starlight(MOFFAT, psf.images.shape[-1]), SCALE)
    assert psf.fwhm == pytest.approx(expected.fwhm, rel=0.04)
    assert np.abs(psf.images - expected.images).max() < 0.03 * expected.images.max()


def test_a_star_with_company_or_a_flag_is_left_out_and_too_few_are_said() -> None:
    stamps = field(3, np.random.default_rng(4))
    mags = np.full(3, 19.0, np.float32)
    config = MeasuredPsf(kind="measured", magnitude=("17 mag", "21 mag"), radius="3.5 arcsec", least_stars=3)
    crowded = stamps.image + 0.3 * np.roll(stamps.image, 8, axis=-1)
    with pytest.raises(ConfigError, match=r"here: 0 isolated stars .* widen psf.magnitude"):
        measured_psf(Stamps(crowded, stamps.ivar, stamps.mask), mags, SCALE, config, "here")
    flagged = np.full_like(stamps.mask, 1)
    with pytest.raises(ConfigError, match="0 isolated stars"):
        measured_psf(Stamps(stamps.image, stamps.ivar, flagged), mags, SCALE, config, "here")
    large = config.model_copy(update={"radius": 9.0})
    with pytest.raises(ConfigError, match=r"psf\.radius"):
        measured_psf(stamps, mags, SCALE, large, "here")


def test_stars_are_the_narrow_locus_of_the_smallest() -> None:
    rng = np.random.default_rng(0)
    size = np.concatenate([rng.normal(0.5, 0.01, 30), rng.uniform(0.6, 1.5, 60), [np.nan]])
    stars = star_locus(size, np.ones(91, bool), 0.16)
    assert stars[:30].all()
    assert stars[30:].sum() <= 2


def test_moments_of_a_gaussian_are_its_own_whatever_the_weight() -> None:
    y, x = np.indices((51, 51)) - 25.0
    dx, dy = (x - 1.3) * SCALE, (y + 0.7) * SCALE
    u, v = dx * np.cos(0.6) + dy * np.sin(0.6), dy * np.cos(0.6) - dx * np.sin(0.6)
    image = np.exp(-0.5 * ((u / 0.9) ** 2 + (v / 0.6) ** 2)).astype(np.float32)[None, None]
    stamps = Stamps(image, np.ones_like(image), np.zeros(image.shape, np.uint32))
    for weight in (0.8, 1.2):
        shape = measure_shapes(stamps, SCALE, weight)
        assert (shape.x[0, 0], shape.y[0, 0]) == pytest.approx((26.3, 24.3), abs=0.02)
        assert shape.size[0, 0] == pytest.approx(np.sqrt(0.9 * 0.6), rel=0.01)
        assert shape.q[0, 0] == pytest.approx(2 / 3, abs=0.01)
        assert shape.angle[0, 0] == pytest.approx(0.6, abs=0.01)


def test_nothing_can_be_measured_on_an_empty_stamp() -> None:
    image = np.full((1, 1, 21, 21), np.nan, np.float32)
    shape = measure_shapes(Stamps(image, np.zeros_like(image), np.ones(image.shape, np.uint32)), SCALE)
    assert not shape.good.any()
    assert np.isnan(shape.q).all()


@pytest.mark.parametrize("weight", [0.0, 0.15, 0.3])
def test_correlation_of_empty_pixels_gives_the_kernel_s_weight(weight: float) -> None:
    rng = np.random.default_rng(6)
    noise = np.stack([correlated_noise(rng, (2, 60, 60), weight) for _ in range(20)])
    stamps = [
        Stamps(item * 7, np.full(item.shape, 1 / 49, np.float32), np.zeros(item.shape, np.uint32)) for item in noise
    ]
    # Leaving out what is beyond 2.5 sigma takes a little of the correlation.
    assert correlation_weights(stamps) == pytest.approx([weight, weight], abs=0.035)


def write_psfex(path: Path, basis: np.ndarray, degree: int, **changes: object) -> None:
    column = fits.Column("PSF_MASK", f"{basis.size}E", dim=str(basis.shape[::-1]), array=basis[None].astype(np.float32))
    table = fits.BinTableHDU.from_columns([column])
    cards = {"POLNAXIS": 2, "POLNAME1": "X_IMAGE", "POLNAME2": "Y_IMAGE", "POLZERO1": 101.0, "POLZERO2": 201.0}
    cards |= {"POLSCAL1": 50.0, "POLSCAL2": 100.0, "POLDEG1": degree, "PSF_SAMP": 0.5}
    table.header.update({**cards, **changes})
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)


def test_psfex_model_is_its_polynomial_at_a_position(tmp_path: Path) -> None:
    basis = np.random.default_rng(1).uniform(0, 0.01, (6, 5, 5))
    basis[0] += 1
    write_psfex(tmp_path / "r.psf", basis, 2)
    model = read_psfex(tmp_path / "r.psf")
    # 0-based (150, 100) is 1-based (151, 101): u = (151 - 101) / 50 = 1, v = (101 - 201) / 100 = -1.
    u, v = 1.0, -1.0
    by_hand = basis[0] + u * basis[1] + u * u * basis[2] + v * basis[3] + u * v * basis[4] + v * v * basis[5]
    np.testing.assert_allclose(model.at(150, 100), by_hand / by_hand.sum(), rtol=1e-5)
    psf = psfex_at([model, model], 150, 100, 0.26)
    assert psf.step == pytest.approx(0.13)
    assert psf.images.shape == (2, 5, 5)


def test_what_is_no_psfex_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.psf").write_text("no FITS")
    with pytest.raises(ConfigError, match="not a readable PSFEx file"):
        read_psfex(tmp_path / "text.psf")
    fits.PrimaryHDU(np.zeros((3, 3))).writeto(tmp_path / "image.psf")
    with pytest.raises(ConfigError, match="no PSF_MASK"):
        read_psfex(tmp_path / "image.psf")
    write_psfex(tmp_path / "mag.psf", np.ones((3, 5, 5)), 1, POLNAME2="MAG_AUTO")
    with pytest.raises(ConfigError, match="MAG_AUTO"):
        read_psfex(tmp_path / "mag.psf")
    write_psfex(tmp_path / "few.psf", np.ones((2, 5, 5)), 1)
    with pytest.raises(ConfigError, match="degree 1 needs 3 images"):
        read_psfex(tmp_path / "few.psf")
