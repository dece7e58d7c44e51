"""A tiny survey on disk and an untrained ensemble: what the workflows need, in a second."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS

from pipeline.models import build
from pipeline.models.calibration import Calibration
from pipeline.models.package import load_package
from pipeline.models.publish import save_package
from tests.cards import card

BANDS = ("g", "r", "i")
SIZE, OVERLAP, SCALE = 240, 60, 0.3

SURVEY = """
name = "mini"
release = "dr1"
reference = "made by the tests"
zero_point = [{ magnitude = "31.4 mag" }]
[bands]
g = "g"
r = "r"
i = "i"
[planes.image]
path = "{field_id}/{field_id}-{native}.fits"
[planes.ivar]
path = "{field_id}/{field_id}-{native}-ivar.fits"
"""

SCAN = """
scan_id = "mini-scan"
survey = "survey ü/survey.toml"
ensemble = "ensemble.toml"
output = "{output}"
bands = ["g", "r", "i"]
[cutouts]
size = "9.6 arcsec"
chunk = 4
shard = 8
[score]
batch = 4
[candidates]
floor = 0.0
prior = 0.5
max_fraction = 1.0
"""


def sky_wcs(column: int) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [SIZE / 2 - column * (SIZE - OVERLAP), SIZE / 2]
    wcs.wcs.cdelt = [-SCALE / 3600, SCALE / 3600]
    return wcs


def write_mini_survey(root: Path, fields: int = 3) -> Path:
    """Fields side by side with overlap: noise, and the same round sources in every field that they fall on."""
    rng = np.random.default_rng(7)
    width = SIZE + (fields - 1) * (SIZE - OVERLAP)
    x, y = rng.uniform(8, width - 8, 25 * fields), rng.uniform(8, SIZE - 8, 25 * fields)
    flux = rng.uniform(400, 4000, x.size)
    yy, xx = np.mgrid[0:SIZE, 0:width]
    light = sum(f * np.exp(-((xx - a) ** 2 + (yy - b) ** 2) / 8) / 25 for f, a, b in zip(flux, x, y, strict=True))
    for band_number, band in enumerate(BANDS):
        sky = light * (1 + 0.3 * band_number) + rng.normal(0, 2.0, light.shape)
        for column in range(fields):
            name = f"F{column}"
            (root / name).mkdir(parents=True, exist_ok=True)
            first = column * (SIZE - OVERLAP)
            header = sky_wcs(column).to_header()
            part = sky[:, first : first + SIZE].astype(np.float32)
            fits.writeto(root / name / f"{name}-{band}.fits", part, header)
            fits.writeto(root / name / f"{name}-{band}-ivar.fits", np.full_like(part, 0.25), header)
    (root / "survey.toml").write_text(SURVEY, encoding="utf-8")
    return root / "survey.toml"


def write_member(
    folder: Path,
    name: str,
    seed: int,
    *,
    architecture: str = "cnn",
    width: int = 8,
    gain: float = 1.0,
    slope: float = 1.0,
    offset: float = 0.0,
    **arguments: int,
) -> None:
    """An untrained network of g, r, i as a package; untrained ones hardly look at their input, so `gain` helps."""
    torch.manual_seed(seed)
    arguments = {"width": width, **arguments}
    own = card(name=name, architecture=architecture, arguments=arguments, bands=BANDS, size_pix=32)
    calibration = Calibration(slope=slope, offset=offset, prior=0.5, n_lenses=1, n_others=1, fitted_on="nothing")
    network = build(architecture, 7, arguments)
    with torch.no_grad():
        for weights in network.parameters():
            weights.mul_(gain)
    save_package(folder / name, own, network, calibration)


def write_measurer(folder: Path, seed: int) -> None:
    """An untrained network, `measurer`, that gives lens parameters and takes everything for a lens."""
    write_member(folder, "measurer", seed, architecture="lensnet", size=32, kept=4, hidden=16, context=8, flow=1)
    package = load_package(folder / "measurer")
    torch.nn.init.constant_(package.network.head.out.bias, 9.0)  # type: ignore[union-attr, arg-type]
    save_package(folder / "measurer", package.card, package.network, package.calibration)


def write_hardly_sure_member(folder: Path, name: str, seed: int) -> None:
    """One whose logits, however large, make few candidates."""
    write_member(folder, name, seed, width=4, gain=4.0, slope=1e-5, offset=-4.0)


def write_ensemble(path: Path) -> Path:
    """An ensemble file of the members `one` and `two` beside it."""
    members = "".join(f'[[members]]\npackage = "{name}"\n' for name in ("one", "two"))
    path.write_text(f'name = "mini"\ndescription = "untrained"\n{members}', encoding="utf-8")
    return path


def write_project(folder: Path) -> None:
    """A survey of three overlapping fields, an ensemble and a scan config, `scan.toml`."""
    write_mini_survey(folder / "survey ü")
    for seed, name in enumerate(("one", "two")):
        write_hardly_sure_member(folder, name, seed)
    write_ensemble(folder / "ensemble.toml")
    (folder / "scan.toml").write_text(SCAN.replace("{output}", str(folder / "out put")), encoding="utf-8")


@pytest.fixture(scope="session")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an ensemble of two untrained members, to be read and not to be changed."""
    folder = tmp_path_factory.mktemp("ensemble")
    for seed, name in enumerate(("one", "two")):
        write_member(folder, name, seed)
    return write_ensemble(folder / "mini.toml")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a survey of three overlapping fields, an ensemble and a scan config, `scan.toml`."""
    write_project(tmp_path)
    return tmp_path


@pytest.fixture
def retrain(project: Path) -> Callable[[str, int], None]:
    """Give a member other weights."""

    def write(name: str, seed: int) -> None:
        shutil.rmtree(project / name)
        write_hardly_sure_member(project, name, seed)

    return write


@pytest.fixture
def edit() -> Callable[[Path, str, str], None]:
    """Replace a piece of text in a file."""

    def replace(path: Path, old: str, new: str) -> None:
        text = path.read_text(encoding="utf-8")
        if old not in text:
            raise AssertionError(f"{old!r} is not in {path}")
        path.write_text(text.replace(old, new), encoding="utf-8")

    return replace
