"""The command `shots`: a few stamps of a kind in, a package that scores out."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from pipeline.models import build
from pipeline.models.calibration import log_odds, sigmoid
from pipeline.models.package import load_package
from pipeline.models.publish import save_package
from pipeline.models.support import support_of
from pipeline.scan.score import score_cutouts
from pipeline.scan_config import ScoreConfig
from pipeline.train.shots import fit_shots
from tests.cards import UNFITTED, card
from workflows.shots import _embedded, shots

SIDE = 36


def drawn(n: int, seed: int, ring: float) -> np.ndarray:
    """Galaxies in g, r, i with a ring of this brightness around each."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    radius = np.hypot(x, y) * 0.3
    image = rng.normal(0, 10, (n, 3, SIDE, SIDE)) + 300 * np.exp(-radius)
    return (image + ring * np.exp(-((radius - 2.4) ** 2) / 0.2)).astype(np.float32)


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(shots)
    return app


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a package of fresh weights, five rings, and four hundred others."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    network = build("resnet", 7, {"width": 8}).train()
    with torch.no_grad():
        network(torch.randn(16, 7, 32, 32))
    save_package(tmp_path / "base", card(name="base", architecture="resnet", size_pix=32), network.eval(), UNFITTED)
    np.save("rings.npy", drawn(5, 2, ring=120))
    np.save("others.npy", drawn(400, 3, ring=0))
    return tmp_path


def run(app: typer.Typer, *changes: str, stamps: str = "rings.npy", against: str = "others.npy", bands: str = "g,r,i"):
    usual = ["base", stamps, "--name", "ring", "--against", against, "--pixel-scale", "0.3", "--bands", bands]
    return CliRunner().invoke(app, [*usual, "--out", "new", "--json", *changes])


def said(app: typer.Typer, **changes: str) -> str:
    result = run(app, **changes)
    assert result.exit_code == 2
    assert not Path("new").exists()
    return str(json.loads(result.stdout)["error"])


def logits_of(folder: Path, image: np.ndarray) -> np.ndarray:
    from pipeline.models.ensemble import load_ensemble

    (folder / "alone.toml").write_text(
        f'name = "alone"\ndescription = ""\n[[members]]\npackage = "{folder / "new"}"\n', encoding="utf-8"
    )
    ensemble = load_ensemble(str(folder / "alone.toml"))
    config = ScoreConfig(device="cpu", dtype="float32")
    keys = {"pixel_scale": 0.3, "bands": ("g", "r", "i"), "ensemble": ensemble, "config": config}
    return score_cutouts(image, None, None, **keys)[:, 0]


def test_a_few_stamps_make_a_member_that_finds_more_of_their_kind(app: typer.Typer, given: Path):
    result = run(app)
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert (made["shots"], made["background"]) == (5, 400)
    package = load_package(given / "new")
    assert package.name == "ring"
    head, base = support_of(package.network), load_package(given / "base").network
    assert head.rare.sum() == 1
    assert head.counts[head.rare == 1].tolist() == [5]
    assert head.counts[head.rare == 0].sum() == 200  # the other half calibrates
    with torch.inference_mode():
        x = torch.randn(3, 7, 32, 32)
        assert torch.equal(package.network.embed(x), base.embed(x))
    logits = logits_of(given, np.concatenate([drawn(50, 4, ring=120), drawn(500, 5, ring=0)]))
    assert np.median(logits[:50]) > np.quantile(logits[50:], 0.95)


def test_the_share_of_a_background_that_passes_is_about_what_its_probabilities_say(app: typer.Typer, given: Path):
    assert run(app).exit_code == 0
    package = load_package(given / "new")
    odds = log_odds(logits_of(given, drawn(1000, 6, ring=0)), package.calibration, 0.01)
    assert sigmoid(odds).mean() < 0.02
    assert sigmoid(log_odds(logits_of(given, drawn(50, 7, ring=120)), package.calibration, 0.01)).mean() > 0.05


def test_an_example_is_left_out_and_scored_from_one_look_as_a_scan_has(given: Path):
    package, bands = load_package(given / "base"), ("g", "r", "i")
    made, looks, _ = _embedded(package, Path("rings.npy"), bands, 0.3, turned=True)
    plain, same, _ = _embedded(package, Path("rings.npy"), bands, 0.3, turned=False)
    background, _, _ = _embedded(package, Path("others.npy"), bands, 0.3, turned=False)
    assert np.array_equal(looks, plain)
    assert np.array_equal(looks, same)
    assert not np.allclose(looks, made)
    found = fit_shots(package, made, looks, background, "ring").left_out
    for row in range(5):
        kept = np.arange(5) != row
        without = fit_shots(package, made[kept], looks[kept], background, "ring").network
        with torch.inference_mode():
            expected = without.head.classify(torch.from_numpy(looks[[row]])).item()
        assert found[row] == pytest.approx(expected, rel=1e-4)


def test_the_card_says_how_little_it_rests_on(app: typer.Typer, given: Path):
    assert run(app).exit_code == 0
    told = load_package(given / "new").card
    assert "lensscan shots base rings.npy --name ring" in told.training
    assert "no training" in told.training
    assert "Made of 5 stamps" in told.notes[0]
    assert "200 background stamps" in told.notes[0]
    completeness = next(metric for metric in told.metrics if "1 %" in metric.name)
    assert completeness.low is not None
    assert completeness.high is not None
    assert completeness.high - completeness.low > 0.1


def test_the_same_command_makes_the_same_bytes(app: typer.Typer, given: Path):
    assert run(app).exit_code == 0
    assert run(app, "--out", "again").exit_code == 0
    for name in ("weights.safetensors", "calibration.toml", "model.toml"):
        assert (given / "new" / name).read_bytes() == (given / "again" / name).read_bytes()


def test_a_support_set_can_be_put_in_place_of_another(app: typer.Typer, given: Path):
    assert run(app).exit_code == 0
    usual = ["rings.npy", "--against", "others.npy", "--pixel-scale", "0.3", "--bands", "g,r,i", "--out", "second"]
    assert CliRunner().invoke(app, ["new", *usual, "--name", "other"]).exit_code == 0
    assert (given / "second" / "weights.safetensors").read_bytes() == (
        given / "new" / "weights.safetensors"
    ).read_bytes()


def test_one_stamp_is_too_few(app: typer.Typer, given: Path):
    np.save("one.npy", drawn(1, 8, ring=120))
    assert "1 stamps of the kind and 400 of the background; give at least 2 and 200" in said(app, stamps="one.npy")


def test_a_small_background_is_refused(app: typer.Typer, given: Path):
    np.save("few.npy", drawn(50, 9, ring=0))
    assert "50 of the background; give at least 2 and 200" in said(app, against="few.npy")


def test_a_background_that_holds_the_examples_is_refused(app: typer.Typer, given: Path):
    np.save("mixed.npy", np.concatenate([np.load("others.npy"), np.load("rings.npy")]))
    assert "holds 5 of the stamps of rings.npy, to the pixel" in said(app, against="mixed.npy")


def test_bands_that_the_package_does_not_have_are_refused(app: typer.Typer, given: Path):
    assert "i is missing" in said(app, bands="g,r,z")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda stamps: stamps[..., 12:20, 12:20], "8 x 8 px, less than the 16 that say enough"),
        (lambda stamps: stamps * np.float32(0), "blank in some band"),
        (lambda stamps: np.where(np.hypot(*(np.mgrid[:SIDE, :SIDE] - 17.5)) < 4, np.nan, stamps), "at the centre"),
    ],
    ids=["small", "zeros", "no centre"],
)
def test_stamps_that_can_be_no_example_are_refused(app: typer.Typer, given: Path, spoil, reason: str):
    np.save("bad.npy", spoil(drawn(3, 10, ring=120)).astype(np.float32))
    assert reason in said(app, stamps="bad.npy")


def test_a_file_that_is_no_array_is_refused(app: typer.Typer, given: Path):
    Path("bad.npy").write_bytes(b"nothing")
    assert "not a numpy array" in said(app, stamps="bad.npy")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("Double Ring", "lower-case letters"), ("ring\n", "lower-case letters"), ("std", "score_std is another column")],
)
def test_a_name_that_is_no_column_is_refused(app: typer.Typer, given: Path, name: str, reason: str):
    result = run(app, "--name", name)
    assert result.exit_code == 2
    assert reason in json.loads(result.stdout)["error"]


@pytest.mark.parametrize("out", ["base", "others.npy"])
def test_what_is_there_already_is_not_written_over(app: typer.Typer, given: Path, out: str):
    result = run(app, "--out", out)
    assert result.exit_code == 2
    assert "holds a package, or is a file" in json.loads(result.stdout)["error"]


def test_pixels_far_coarser_than_the_network_s_are_refused(app: typer.Typer, given: Path):
    result = run(app, "--pixel-scale", "3")
    assert result.exit_code == 2
    assert "over 3 times that" in json.loads(result.stdout)["error"]


def test_the_lines_for_an_ensemble_are_toml_that_finds_the_package(app: typer.Typer, given: Path):
    out = 'a "ring" \u00e9'
    usual = ["rings.npy", "--name", "ring", "--against", "others.npy", "--pixel-scale", "0.3", "--bands", "g,r,i"]
    result = CliRunner().invoke(app, ["base", *usual, "--out", out], terminal_width=40)
    assert result.exit_code == 0, result.output
    (member,) = tomllib.loads(result.stdout[result.stdout.index("[[members]]") :])["members"]
    assert member == {"package": str(given / out), "weight": 0}


def test_a_kind_like_every_other_stamp_is_refused_or_known_for_little(app: typer.Typer, given: Path):
    np.save("plain.npy", drawn(5, 11, ring=0))
    result = run(app, stamps="plain.npy")
    if result.exit_code == 2:
        assert "backwards" in json.loads(result.stdout)["error"]
    else:
        package = load_package(given / "new")
        odds = log_odds(logits_of(given, drawn(200, 12, ring=0)), package.calibration, 0.01)
        assert np.median(sigmoid(odds)) == pytest.approx(0.01, abs=0.02)
