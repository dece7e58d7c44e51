"""What an injection finds out of a scan before it draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from pipeline.errors import ConfigError
from pipeline.sims.inject.plan import prepare
from pipeline.sims.inject.simulate import inject_stamps
from pipeline.sims.psf.images import ImagePsf
from tests.sims.scan_of_galaxies import SCALE, STAR, injection_config, write_scan

MOFFAT = 'psf = { kind = "moffat", fwhm = { g = "0.8 arcsec", r = "0.8 arcsec", i = "0.8 arcsec" }, beta = 50 }'


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("scan") / "out")


def test_psf_measured_from_a_scan_s_stars_is_theirs(scan: Path, tmp_path: Path) -> None:
    measured = 'psf = { kind = "measured", magnitude = ["17 mag", "20 mag"], radius = "3 arcsec" }'
    plan = prepare(injection_config(tmp_path, scan, (MOFFAT, measured)), [scan])
    psf = plan.skies[0].psf
    assert isinstance(psf, ImagePsf)
    assert psf.fwhm == pytest.approx(2.3548 * STAR * np.ones(3), rel=0.03)
    assert len(plan.deflectors) == 48
    assert np.isfinite(inject_stamps(plan, 4, seed=1).truth.seeing).all()


def test_psfex_files_of_a_field_are_evaluated_where_an_object_is(scan: Path, tmp_path: Path) -> None:
    y, x = np.indices((21, 21)) - 10.0
    basis = np.stack([np.exp(-(x**2 + y**2) / (2 * width**2)) / width**2 for width in (1.0, 1.6)])
    # The PSF goes over from narrow to wide with x.
    basis = np.stack([basis[0], basis[1] - basis[0], np.zeros_like(x)])
    for band in "gri":
        column = fits.Column("PSF_MASK", f"{basis.size}E", dim="(21,21,3)", array=basis[None].astype(np.float32))
        table = fits.BinTableHDU.from_columns([column])
        cards = {"POLNAXIS": 2, "POLNAME1": "X_IMAGE", "POLNAME2": "Y_IMAGE", "POLDEG1": 1, "PSF_SAMP": 1.0}
        table.header.update({**cards, "POLZERO1": 1.0, "POLZERO2": 1.0, "POLSCAL1": 1000.0, "POLSCAL2": 1000.0})
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / f"F-{band}.psf")
    psfex = f'psf = {{ kind = "psfex", path = "{tmp_path}/{{field_id}}-{{band}}.psf" }}'
    plan = prepare(injection_config(tmp_path, scan, (MOFFAT, psfex)), [scan])
    narrow, wide = (plan.skies[0].psf_at(at, 300.0, SCALE).fwhm for at in (0.0, 1000.0))
    assert narrow == pytest.approx(2.3548 * 1.0 * SCALE * np.ones(3), rel=0.03)
    assert wide == pytest.approx(2.3548 * 1.6 * SCALE * np.ones(3), rel=0.03)
    seeing = inject_stamps(plan, 12, seed=1).truth.seeing[:, 0]
    assert narrow[0] - 1e-3 <= seeing.min() < seeing.max() <= wide[0]
    with pytest.raises(ConfigError, match="nowhere"):
        prepare(injection_config(tmp_path, scan, (MOFFAT, psfex.replace(str(tmp_path), "nowhere"))), [scan])


def test_einstein_radii_follow_from_dispersion_where_asked_for(scan: Path, tmp_path: Path) -> None:
    mass = ('theta_E = "population", most = 1000.0', 'theta_E = "dispersion"')
    # Better seeing than the stars have, so that their radii are resolved; the stars are 18.5 mag.
    config = injection_config(tmp_path, scan, mass, ('"0.8 arcsec"', '"0.3 arcsec"'), ('"17 mag"', '"18.6 mag"'))
    plan = prepare(config, [scan])
    truth = inject_stamps(plan, 40, seed=1).truth
    lens = truth.kind == 0
    # All galaxies are of 18.75 mag: their radii scatter about one another, not over the population's whole range.
    assert np.log(truth.theta_E[lens]).std() < 0.4
    assert np.allclose(truth.lens_mag[lens], 18.75)


def test_two_fields_that_hold_an_object_give_it_once(scan: Path, tmp_path: Path) -> None:
    second = write_scan(tmp_path / "again", seed=6)
    plan = prepare(injection_config(tmp_path, scan), [scan, second])
    assert len(plan.objects) == 144


def test_most_objects_are_a_part_that_stays_the_same(scan: Path, tmp_path: Path) -> None:
    config = injection_config(tmp_path, scan)
    few = prepare(config.model_copy(update={"most_objects": 30}), [scan]).objects.objid
    more = prepare(config.model_copy(update={"most_objects": 60}), [scan]).objects.objid
    assert (len(few), len(more)) == (30, 60)
    assert np.isin(few, more).all()
