"""The command `evaluate` on a comparison of anomaly detectors: random weights, small pools, small frames."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from astropy.io import fits
from typer.testing import CliRunner

from pipeline.config import find
from pipeline.evaluate.anomalies.config import load_anomalies
from pipeline.models import build
from pipeline.models.normalisation import NormalisationConfig
from pipeline.models.publish import save_package
from tests.cards import UNFITTED, card
from workflows.cli import app

BANDS = ("g", "r", "i")
SCALE = 0.25


def stars(rng: np.random.Generator, n: int, pairs: np.ndarray, size: int = 48) -> np.ndarray:
    """One star a stamp, or two of them some 2 arcsec apart."""
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * SCALE
    image = rng.normal(0, 10, (n, 3, size, size))
    for row in range(n):
        offsets = (-1.0, 1.0) if pairs[row] else (0.0,)
        flux = rng.uniform(300, 900)
        for offset in offsets:
            image[row] += flux / len(offsets) * np.exp(-((x - offset) ** 2 + y**2) / 0.4)
    return image.astype(np.float32)


def write_pool(folder: Path, n: int, seed: int) -> str:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    label = np.arange(n) % 4 == 0
    np.savez(
        folder / "pool-00000.npz",
        image=stars(rng, n, label),
        label=label.astype(np.int64),
        kind=np.where(label, 0, 1 + np.arange(n) % 2),
        kinds=np.array(["lens", "star", "spiral"]),
        bands=np.array(BANDS),
        pixel_scale=np.float64(SCALE),
        theta_E=rng.uniform(1, 2, n),
        separation=np.where(label, 2.0, np.nan),
        seed=np.int64(seed),
    )
    return str(folder / "pool-*.npz")


def write_frames(folder: Path, n: int = 8) -> None:
    (folder / "stamps").mkdir(parents=True)
    rng = np.random.default_rng(4)
    y, x = (np.mgrid[:120, :120] - 59.5) * SCALE
    for number in range(n):
        frame = rng.normal(0, 1, (3, 120, 120))
        for dx, dy, fwhm, flux in ((-1, 0, 1, 100), (1, 0, 1, 90), (-9, -8, 1, 150), (9, 8, 2, 60)):
            frame += flux * (1 + 0.1 * number) * np.exp(-0.5 * ((x - dx) ** 2 + (y - dy) ** 2) / (fwhm / 2.3548) ** 2)
        images = [fits.ImageHDU(plane, name=band) for band, plane in zip(BANDS, frame, strict=True)]
        fits.HDUList([fits.PrimaryHDU(), *images]).writeto(folder / "stamps" / f"f{number}.fits")
    (folder / "labels.csv").write_text("name,cls\n" + "".join(f"f{number},quasar\n" for number in range(n)))


def write_packages(folder: Path) -> None:
    torch.manual_seed(0)
    grid = {"pixel_scale": "0.25 arcsec", "size_pix": 48}
    asinh = NormalisationConfig(validity="bands")
    arguments = {"width": 4, "latent": 6, "masks": 3}
    for name, architecture, own, normalisation in (
        ("tiny_vae", "vae", arguments, asinh),
        ("tiny_cnn", "cnn", {"width": 8}, None),
    ):
        about = card(name=name, architecture=architecture, arguments=own, **grid)
        if normalisation is not None:
            about = about.model_copy(update={"normalisation": normalisation})
        network = build(architecture, about.normalisation.channels(3), own)
        save_package(folder / name / "package", about, network, UNFITTED)


CONFIG = """
kind = "anomalies"
name = "tiny"
packages = ["{folder}/*/package"]
replicates = 50
prior = 0.01
point_like = ["star"]
{top}
[latent]
reconstructions = 2
[points]
fwhm = ["0.8 arcsec", "1.3 arcsec"]
[gallery]
stamps = 3
[validation]
name = "chosen on"
column = "simulations"
kind = "pools"
pools = ["{validation}"]
[[samples]]
name = "made"
column = "simulations"
kind = "pools"
pools = ["{test}"]
[[samples]]
name = "sky"
column = "real"
kind = "stamps"
stamps = "{real}/stamps"
labels = "{real}/labels.csv"
bands = ["g", "r", "i"]
pixel_scale = "0.25 arcsec"
size = "12 arcsec"
magnitude_quantiles = [0.0, 1.0]
most_missing = 0.4
"""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("anomalies")
    write_packages(folder / "packages")
    write_frames(folder / "real")
    return {
        "folder": str(folder / "packages"),
        "validation": write_pool(folder / "validation", 160, 1),
        "test": write_pool(folder / "test", 200, 2),
        "real": str(folder / "real"),
        "top": "",
    }


def run(tmp_path: Path, places: dict[str, str], **changes: str) -> tuple[int, str, str]:
    (tmp_path / "tiny.toml").write_text(CONFIG.format(**{**places, **changes}))
    result = CliRunner().invoke(
        app, ["evaluate", str(tmp_path / "tiny.toml"), "--out", str(tmp_path / "out"), "--json"]
    )
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, places: dict[str, str]) -> tuple[Path, dict]:
    folder = tmp_path_factory.mktemp("evaluated")
    code, printed, told = run(folder, places)
    assert code == 0, told
    return folder / "out", json.loads(printed)


def test_detectors_and_baselines_stand_beside_one_another_on_every_sample(evaluated):
    folder, printed = evaluated
    written = json.loads((folder / "evaluation.json").read_text())
    assert printed == {**written, "output": str(folder)}
    names = ["made", "sky against point sources", "sky against galaxies"]
    assert [sample["name"] for sample in written["samples"]] == names
    assert [(scorer["name"], scorer["kind"]) for scorer in written["scorers"]] == [
        ("tiny_cnn", "network"),
        ("tiny_vae", "network"),
        ("tiny_vae in the chosen dimensions", "dimensions"),
        *[
            (name, "baseline")
            for name in ("core colour", "blue ring", "brightness", "ellipticity", "size", "off-centre")
        ],
    ]
    assert all(set(scorer["samples"]) == set(names) for scorer in written["scorers"])


def test_what_tells_pairs_from_stars_does_so_and_its_threshold_is_that_of_the_validation(evaluated):
    _, written = evaluated
    size = next(scorer for scorer in written["scorers"] if scorer["name"] == "size")
    figures = {figure["name"]: figure for figure in size["samples"]["made"]["figures"]}
    assert figures["AUROC"]["value"] > 0.95
    assert figures["F1 at the threshold of the validation"]["value"] > 0.8
    assert figures["precision at prior 0.01"]["low"] < figures["precision at prior 0.01"]["high"]
    assert [study["share"] for study in size["studies"]] == [0.05, 0.01]
    real = {figure["name"] for figure in size["samples"]["sky against galaxies"]["figures"]}
    assert "AUROC" in real
    # Files are drawn together, which a posterior of independent stamps would not know.
    assert not any("prior" in name for name in real)


def test_the_latent_space_is_analysed_where_there_is_one(evaluated):
    folder, written = evaluated
    latent = written["latents"][0]
    assert [entry["package"] for entry in written["latents"]] == ["tiny_vae"]
    assert len(latent["dimensions"]["chi_squared"]) == 6
    assert any(latent["dimensions"]["chosen"])
    assert list(latent["places"]) == ["point sources", "extended sources", "simulated anomalies", "real lenses"]
    page = (folder / "report.html").read_text()
    for told in ("Latent space of tiny_vae", "Threshold study", "Top false alarms of tiny_cnn on made", "Chi-squared"):
        assert told in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_every_stamp_stands_in_the_table_with_its_scores(evaluated):
    folder, written = evaluated
    table = pq.read_table(folder / "scores.parquet")
    assert len(table) == sum(sample["n_lenses"] + sample["n_others"] for sample in written["samples"])
    assert {"score_tiny_vae", "score_tiny_vae_in_the_chosen_dimensions", "score_off-centre"} <= set(table.column_names)
    made = table.filter(np.array(table["sample"].to_pylist()) == "made")
    assert made["what"].to_pylist()[:3] == ["lens", "spiral", "star"]


def test_what_is_not_there_is_not_measured_and_says_so(tmp_path: Path, places):
    code, printed, told = run(tmp_path, places, real="${LENSSCAN_NOWHERE}", top='modes = ["anomaly_classification"]')
    assert code == 0, told
    assert "NOT MEASURED: sky" in told
    written = json.loads(printed)
    assert list(written["not_measured"]) == ["sky"]
    assert [sample["name"] for sample in written["samples"]] == ["made"]
    assert written["latents"] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folder": "/nowhere"}, "no folder matches '/nowhere/*/package'"),
        ({"test": "{validation}"}, "on which thresholds are chosen"),
        ({"top": 'modes = ["analysis"]'}, "modes"),
        ({"top": 'training = ["{test}"]'}, "share with the training pools"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, places, changes: dict[str, str], message: str):
    given = {key: value.format(**places) if "{" in value else value for key, value in changes.items()}
    code, printed, told = run(tmp_path, places, **given)
    assert code == 2
    assert message in printed + told


def test_the_shipped_comparison_is_of_lensed_quasars(monkeypatch):
    monkeypatch.delenv("LENSSCAN_DATA", raising=False)
    config, absent = load_anomalies(find("quasars", "evaluations"))
    assert config.share == 0.05
    assert config.prior == 1e-3
    assert list(absent) == ["ps1 lensed quasars"]
