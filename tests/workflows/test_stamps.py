"""The command `stamps`, on an ensemble with random weights."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from astropy.io import fits
from PIL import Image
from typer.testing import CliRunner

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models.ensemble import load_ensemble
from workflows.stamps import score_stamps, stamps

BANDS = ("g", "r", "i")


def images(n: int, size: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return (rng.normal(0, 10, (n, 3, size, size)) + 400 * np.exp(-np.hypot(x, y) / 4)).astype(np.float32)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_an_array_is_scored_in_order_with_gaps_where_it_cannot_be(tmp_path: Path, ensemble: Path):
    image = images(5, 78)
    image[2] = np.nan
    np.save(tmp_path / "a.npy", image)
    out = tmp_path / "s.parquet"
    result = score_stamps(tmp_path / "a.npy", out, pixel_scale=0.262, bands=BANDS, ensemble=str(ensemble))
    assert (result.n, result.scored, result.output) == (5, 4, str(out))
    table = pq.read_table(out)
    assert table.column_names == ["name", "score", "score_one", "score_two"]
    assert table["name"].to_pylist() == ["0", "1", "2", "3", "4"]
    assert [value is None for value in table["score"].to_pylist()] == [False, False, True, False, False]


def test_stamps_of_any_size_in_one_folder_keep_their_rows(tmp_path: Path, ensemble: Path):
    folder = tmp_path / "with space"
    folder.mkdir()
    sizes = {"a": 78, "b": 40, "c": 301, "d": 78, "e": 31}
    for seed, (name, size) in enumerate(sizes.items()):
        planes = [fits.ImageHDU(plane, name=band) for band, plane in zip(BANDS, images(1, size, seed)[0], strict=True)]
        fits.HDUList([fits.PrimaryHDU(), *planes]).writeto(folder / f"{name}.fits")
    (folder / "bad.fits").write_bytes(b"nothing")
    out = tmp_path / "s.csv"
    result = score_stamps(folder, out, pixel_scale=0.3, ensemble=str(ensemble))
    rows = rows_of(out)
    assert [row["name"] for row in rows] == ["a", "b", "bad", "c", "d", "e"]
    assert [row["score"] == "" for row in rows] == [False, False, True, False, False, False]
    assert (result.n, result.scored) == (6, 5)
    np.save(tmp_path / "d.npy", images(1, 78, 3))
    score_stamps(tmp_path / "d.npy", tmp_path / "d.csv", pixel_scale=0.3, bands=BANDS, ensemble=str(ensemble))
    alone = rows_of(tmp_path / "d.csv")[0]
    assert float(alone["score_one"]) == pytest.approx(float(rows[4]["score_one"]), rel=1e-5)


def test_stamps_too_small_to_score_or_to_trust_are_counted_and_named(
    tmp_path: Path, ensemble: Path, capsys: pytest.CaptureFixture[str]
):
    for name, size in (("dots", 6), ("small", 20)):
        np.save(tmp_path / f"{name}.npy", images(7, size))
        score_stamps(
            tmp_path / f"{name}.npy", tmp_path / f"{name}.csv", pixel_scale=0.3, bands=BANDS, ensemble=str(ensemble)
        )
    none, little = capsys.readouterr().err.splitlines()
    assert none.startswith("7 stamps have no score, being too small")
    assert none.endswith(": 0, 1, 2, 3, 4, ...")
    assert little.startswith("7 stamps cover less than half of the 9.6 arcsec")
    assert [row["score"] for row in rows_of(tmp_path / "dots.csv")] == [""] * 7
    assert "" not in [row["score"] for row in rows_of(tmp_path / "small.csv")]


def test_a_wide_stamp_scores_as_its_middle(tmp_path: Path, ensemble: Path):
    wide = images(1, 301)
    np.savez(tmp_path / "wide.npz", image=wide)
    np.savez(tmp_path / "middle.npz", image=wide[..., 110:191, 110:191])
    scores = []
    for name in ("wide", "middle"):
        out = tmp_path / f"{name}.csv"
        score_stamps(tmp_path / f"{name}.npz", out, pixel_scale=0.262, bands=BANDS, ensemble=str(ensemble))
        scores.append(float(rows_of(out)[0]["score"]))
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)


def test_pictures_are_scored_as_i_r_g(tmp_path: Path, ensemble: Path):
    rgb = np.clip(np.moveaxis(images(2, 60), 1, 3)[..., ::-1] / 2 + 40, 0, 255).astype(np.uint8)
    np.save(tmp_path / "a.npy", rgb)
    folder = tmp_path / "png"
    folder.mkdir()
    for index in range(2):
        Image.fromarray(rgb[index]).save(folder / f"{index}.png")
    (folder / "2.png").write_bytes(b"torn")
    first = score_stamps(tmp_path / "a.npy", tmp_path / "a.csv", pixel_scale=0.3, ensemble=str(ensemble))
    second = score_stamps(folder, tmp_path / "b.csv", pixel_scale=0.3, ensemble=str(ensemble))
    assert (first.n, first.scored, second.n, second.scored) == (2, 2, 3, 2)
    assert rows_of(tmp_path / "a.csv") == rows_of(tmp_path / "b.csv")[:2]


def test_the_prior_moves_the_scores(tmp_path: Path, ensemble: Path):
    np.save(tmp_path / "a.npy", images(1, 78))
    scores = []
    for prior in (1e-4, 0.5):
        score_stamps(
            tmp_path / "a.npy", tmp_path / "s.csv", pixel_scale=0.3, bands=BANDS, ensemble=str(ensemble), prior=prior
        )
        scores.append(float(rows_of(tmp_path / "s.csv")[0]["score"]))
    odds = [score / (1 - score) for score in scores]
    assert odds[1] / odds[0] == pytest.approx((1 - 1e-4) / 1e-4, rel=1e-3)


def test_real_lenses_all_get_a_score_from_the_shipped_ensemble(tmp_path: Path, real_data: Path):
    folder = tmp_path / "lenses"
    folder.mkdir()
    for path in sorted((real_data / "ps1-lenses" / "stamps").glob("*.fits.fz"))[:12]:
        (folder / path.name).symlink_to(path)
    result = score_stamps(folder, tmp_path / "s.csv", pixel_scale=0.25, bands=BANDS, prior=0.5)
    assert (result.n, result.scored) == (12, 12)
    rows = rows_of(tmp_path / "s.csv")
    assert list(rows[0]) == ["name", "score", *(f"score_{name}" for name in load_ensemble("ground").names)]
    assert all(0 < float(row["score"]) < 1 for row in rows)


@pytest.mark.parametrize("scale", [0.0, -0.3, float("nan"), float("inf")])
def test_an_impossible_pixel_scale_is_refused(tmp_path: Path, ensemble: Path, scale: float):
    with pytest.raises(ConfigError, match="--pixel-scale"):
        score_stamps(tmp_path, tmp_path / "s.csv", pixel_scale=scale, ensemble=str(ensemble))


def test_bands_that_the_ensemble_lacks_are_a_mismatch_before_anything_is_written(tmp_path: Path, ensemble: Path):
    np.save(tmp_path / "a.npy", images(1, 78))
    with pytest.raises(ModelMismatch, match="g is missing"):
        score_stamps(
            tmp_path / "a.npy", tmp_path / "s.csv", pixel_scale=0.3, bands=("z", "r", "i"), ensemble=str(ensemble)
        )
    assert not (tmp_path / "s.csv").exists()


def test_the_command_prints_one_object_and_exits_with_2_when_it_cannot_start(tmp_path: Path, ensemble: Path):
    app = typer.Typer()
    app.command()(stamps)
    np.save(tmp_path / "a.npy", images(2, 78))
    out = str(tmp_path / "s.csv")
    arguments = [
        str(tmp_path / "a.npy"),
        "--pixel-scale",
        "0.3",
        "--ensemble",
        str(ensemble),
        "--output",
        out,
        "--json",
    ]
    good = CliRunner().invoke(app, [*arguments, "--bands", "g,r,i"])
    assert good.exit_code == 0
    assert json.loads(good.stdout) == {"n": 2, "scored": 2, "output": out}
    bad = CliRunner().invoke(app, arguments)
    assert bad.exit_code == 2
    assert "--bands" in json.loads(bad.stdout)["error"]


def test_an_impossible_prior_is_refused_before_anything_is_read(tmp_path: Path, ensemble: Path):
    with pytest.raises(ConfigError, match="--prior must lie between 0 and 1, not 2"):
        score_stamps(tmp_path / "none.npy", tmp_path / "a.csv", pixel_scale=0.3, ensemble=str(ensemble), prior=2)
