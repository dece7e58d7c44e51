"""The command `evaluate`, on an ensemble with random weights and small samples in all three columns."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from pipeline.config import find, shipped
from pipeline.errors import ConfigError, ModelMismatch
from pipeline.evaluate.config import BaselineConfig, RealLensesConfig, load_evaluation
from pipeline.evaluate.samples.lenses import open_real_lenses
from pipeline.models.card import read_card
from pipeline.models.ensemble import load_ensemble
from pipeline.models.normalisation import NormalisationConfig
from pipeline.models.publish import write_card
from pipeline.scan.score import score_cutouts
from workflows.cli import app
from workflows.evaluate import run_evaluation
from workflows.evaluate_kinds import KINDS, kind_of

BANDS = ("g", "r", "i")


def light(rng: np.random.Generator, n: int, size: int = 32) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    flux = rng.uniform(200, 900, (n, 3, 1, 1))
    return (rng.normal(0, 10, (n, 3, size, size)) + flux * np.exp(-np.hypot(x, y) / 3)).astype(np.float32)


def write_pool(folder: Path, n: int, seed: int, bands: tuple[str, ...] = BANDS, **more: np.ndarray) -> str:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    image = light(rng, n)
    image[0] = np.nan
    values = {
        "image": image,
        "label": np.arange(n) % 2,
        "bands": np.array(bands),
        "pixel_scale": np.float64(0.3),
        "theta_E": rng.uniform(1, 2, n),
        "seed": np.int64(seed),
    }
    np.savez(folder / "pool-00000.npz", **{**values, **more})
    return str(folder / "pool-*.npz")


def write_frames(folder: Path, n: int = 14) -> None:
    (folder / "stamps").mkdir(parents=True)
    rng = np.random.default_rng(8)
    rows = ["name,cls"]
    for number in range(n):
        frame = rng.normal(0, 1, (3, 100, 100))
        for px in (50, 75):
            frame[:, 34:66, px - 16 : px + 16] += light(rng, 1)[0] / 10
        images = [fits.ImageHDU(plane, name=band) for band, plane in zip(BANDS, frame, strict=True)]
        fits.HDUList([fits.PrimaryHDU(), *images]).writeto(folder / "stamps" / f"f{number}.fits")
        rows.append(f"f{number},galaxy")
    (folder / "labels.csv").write_text("\n".join(rows))


def pools_text(name: str, column: str, pattern: str) -> str:
    return (
        f'[[samples]]\nname = "{name}"\ncolumn = "{column}"\nkind = "pools"\npools = ["{pattern}"]\n'
        'against = ["theta_E"]\nclearest = "theta_E"\nclear = { theta_E = 1.5 }\n'
    )


def real_text(folder: str) -> str:
    return (
        f'[[samples]]\nname = "sky"\ncolumn = "real"\nkind = "stamps"\nstamps = "{folder}/stamps"\n'
        f'labels = "{folder}/labels.csv"\nselect = {{ cls = "galaxy" }}\nbands = ["g", "r", "i"]\n'
        'pixel_scale = "0.25 arcsec"\nsize = "10 arcsec"\nmagnitude_quantiles = [0.0, 1.0]\n'
    )


def write_config(path: Path, ensemble: Path, *samples: str, top: str = "") -> Path:
    head = f'name = "e"\nensemble = "{ensemble}"\nreplicates = 50\nrates = [1e-1, 1e-3]\nbreakdown_rate = 1e-1\n'
    path.write_text(
        head + top + '[gallery]\nstamps = 4\n[probe]\nlimit = 40\ncaliper = "9 mag"\n' + "".join(samples),
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory, ensemble: Path) -> tuple[Path, dict, str]:
    """All three columns measured: the output folder, what --json printed, and standard error."""
    folder = tmp_path_factory.mktemp("evaluated")
    write_frames(folder / "real")
    (folder / "run").mkdir()
    (folder / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.4}\n')
    training = write_pool(folder / "training", 10, 5, source_id=np.arange(10))
    config = write_config(
        folder / "e.toml",
        ensemble,
        pools_text("made", "simulations", write_pool(folder / "made", 80, 1, source_id=np.arange(80) + 100)),
        pools_text("put", "injections", write_pool(folder / "put", 60, 2)),
        real_text(str(folder / "real")),
        top=f'training = ["{training}"]\nruns = ["{folder / "run"}"]\n',
    )
    result = CliRunner().invoke(app, ["evaluate", str(config), "--out", str(folder / "out"), "--json"])
    assert result.exit_code == 0, result.output
    return folder / "out", json.loads(result.stdout), result.stderr


def test_three_columns_stand_beside_each_other_with_numbers_and_intervals(evaluated):
    folder, printed, _ = evaluated
    written = json.loads((folder / "evaluation.json").read_text())
    assert printed == {**written, "output": str(folder)}
    assert [sample["column"] for sample in written["samples"]] == ["simulations", "injections", "real"]
    assert written["not_measured"] == {}
    for sample in written["samples"]:
        assert [scorer["kind"] for scorer in sample["scorers"]] == ["ensemble", *["member"] * 2, *["baseline"] * 3]
        for figure in (figure for scorer in sample["scorers"] for figure in scorer["figures"]):
            assert figure["n_lenses"] == sample["n_lenses"]
            assert (figure["value"] is None) == (figure["reason"] is not None)
            assert figure["value"] is None or figure["low"] <= figure["high"]
    made = written["samples"][0]
    assert made["unscored_others"] == 1
    thousandth = next(f for f in made["scorers"][0]["figures"] if f["name"] == "completeness at FPR 0.001")
    assert thousandth["value"] is None
    assert "it needs 1,000" in thousandth["reason"]


def test_the_probe_the_drift_and_the_splits_are_told(evaluated):
    _, printed, _ = evaluated
    assert {(probe["member"], probe["first"], probe["second"]) for probe in printed["probes"]} == {
        (member, first, "sky") for member in ("one", "two") for first in ("made", "put")
    }
    assert all(0 <= probe["auc"]["value"] <= 1 for probe in printed["probes"])
    assert len(printed["drift"]) == 6 * 3
    told = {
        (check["first"], check["what"]): check["shared"] for check in printed["splits"] if check["second"] == "training"
    }
    assert told["made", "source galaxy"] == 0
    assert told["put", "stamp"] == 0
    assert told["sky", "stamp"] is None


def test_scores_hold_every_stamp_with_its_truth(evaluated):
    folder, printed, _ = evaluated
    table = pq.read_table(folder / "scores.parquet")
    assert table.num_rows == sum(sample["n_lenses"] + sample["n_others"] for sample in printed["samples"])
    assert {"sample", "row", "label", "score", "logit_one", "score_two", "truth_theta_E"} <= set(table.column_names)
    first = table.slice(0, 1).to_pylist()[0]
    assert first["score"] is None
    assert table.filter(table["sample"].to_numpy(zero_copy_only=False) == "sky")["truth_theta_E"].null_count > 0


def test_the_report_needs_nothing_from_elsewhere_and_has_pictures_curves_and_histories(evaluated):
    text = (evaluated[0] / "report.html").read_text()
    assert "http" not in text
    assert "<script" not in text
    for part in ("Top false alarms", "Missed lenses", "Training histories", "Reliability", "Confusion matrix", "ROC"):
        assert part in text
    assert text.count("data:image/png;base64,") >= 3 * 8
    assert not re.search(r"\bnan\b", re.sub(r'base64,[^"]+', "", text))


def test_a_column_without_a_sample_is_not_measured_and_says_so_loudly(tmp_path, ensemble, monkeypatch):
    monkeypatch.delenv("LENSSCAN_NOWHERE", raising=False)
    config = write_config(
        tmp_path / "e.toml",
        ensemble,
        pools_text("made", "simulations", write_pool(tmp_path / "made", 40, 1)),
        real_text("${LENSSCAN_NOWHERE}/real"),
    )
    result = CliRunner().invoke(app, ["evaluate", str(config), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "NOT MEASURED: sky" in result.stderr
    assert "LENSSCAN_NOWHERE" in result.stderr
    assert result.stdout.count("NOT MEASURED") >= 3
    assert "realism probe: none: no real lenses were measured" in result.stdout
    written = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert set(written["not_measured"]) == {"sky", "injections"}


def test_nothing_to_measure_is_an_error(tmp_path, ensemble):
    config = write_config(tmp_path / "e.toml", ensemble, pools_text("made", "simulations", str(tmp_path / "none*.npz")))
    with pytest.raises(ConfigError, match="no sample can be measured"):
        run_evaluation(str(config), out=tmp_path / "out")


def test_a_sample_without_the_members_bands_is_refused_by_name(tmp_path, ensemble):
    pattern = write_pool(tmp_path / "made", 20, 1, bands=("u", "r", "i"))
    config = write_config(tmp_path / "e.toml", ensemble, pools_text("made", "simulations", pattern))
    with pytest.raises(ModelMismatch, match=r"sample 'made'.*g is missing"):
        run_evaluation(str(config), out=tmp_path / "out")


def test_stamps_that_the_members_were_trained_on_are_refused(tmp_path, ensemble):
    pattern = write_pool(tmp_path / "made", 20, 1)
    text = pools_text("made", "simulations", pattern)
    config = write_config(tmp_path / "e.toml", ensemble, text, top=f'training = ["{pattern}"]\n')
    with pytest.raises(ConfigError, match="share with the training pools"):
        run_evaluation(str(config), out=tmp_path / "out")


def test_a_sample_without_lenses_has_thresholds_told_on_it_and_gives_its_own(tmp_path, ensemble):
    rng = np.random.default_rng(4)
    np.save(tmp_path / "others.npy", light(rng, 40))
    text = f'[[samples]]\nname = "plain"\nkind = "others"\nstamps = "{tmp_path}/others.npy"\nbands = ["g", "r", "i"]\n'
    config = write_config(
        tmp_path / "e.toml",
        ensemble,
        pools_text("made", "simulations", write_pool(tmp_path / "made", 80, 1)),
        text + 'pixel_scale = "0.3 arcsec"\nsize = "9.6 arcsec"\n',
    )
    found = run_evaluation(str(config), out=tmp_path / "out").evaluation
    assert [sample.name for sample in found.samples] == ["made"]
    assert [(sample.name, sample.n_others) for sample in found.others] == [("plain", 40)]
    assert "real" in found.not_measured
    table = pq.read_table(tmp_path / "out" / "scores.parquet").to_pandas()
    made, plain = (table[table["sample"] == name] for name in ("made", "plain"))
    rows = {(row.threshold_from, row.measured_on): row for row in found.drift if row.scorer == "one"}
    others, lenses = (made[made["label"] == label]["logit_one"].dropna() for label in (False, True))
    there = plain["logit_one"]
    # A tenth of 40 may lie above: the threshold is the fifth highest.
    assert rows["made", "plain"].share.value == pytest.approx((there > np.sort(others)[-5]).mean())
    assert rows["made", "plain"].completeness.value is None
    assert rows["plain", "made"].completeness.value == pytest.approx((lenses > np.sort(there)[-5]).sum() / 40)
    report = (tmp_path / "out" / "report.html").read_text()
    assert "no known lens" in report
    only = write_config(tmp_path / "only.toml", ensemble, text + 'pixel_scale = "0.3 arcsec"\nsize = "9.6 arcsec"\n')
    with pytest.raises(ConfigError, match="no sample with lenses"):
        run_evaluation(str(only), out=tmp_path / "only")


def test_cards_get_the_figures_of_each_sample_once(tmp_path, ensemble):
    members = load_ensemble(str(ensemble)).members
    copies = [shutil.copytree(member.path, tmp_path / member.name) for member in members]
    listed = "".join(f'[[members]]\npackage = "{copy.name}"\n' for copy in copies)
    (tmp_path / "e.toml").write_text(f'name = "e"\ndescription = "d"\nrule = "mean"\n{listed}', encoding="utf-8")
    pattern = write_pool(tmp_path / "pool", 40, 3)
    config = write_config(tmp_path / "v.toml", tmp_path / "e.toml", pools_text("sims", "simulations", pattern))
    before = [read_card(copy) for copy in copies]
    for out in ("first", "again"):
        result = run_evaluation(str(config), out=tmp_path / out, cards=True).evaluation
    for copy, old in zip(copies, before, strict=True):
        card = read_card(copy)
        assert card.model_copy(update={"metrics": old.metrics}) == old
        new = card.metrics[len(old.metrics) :]
        assert card.metrics[: len(old.metrics)] == old.metrics
        assert [metric.name for metric in new] == ["auroc", "completeness at 10 % false positives"]
        figure = next(scorer for scorer in result.samples[0].scorers if scorer.name == card.name).figure("AUROC")
        assert [new[0].value, new[0].low, new[0].high] == pytest.approx([figure.value, figure.low, figure.high], 1e-3)
        assert new[0].sample == f"sims: 20 lenses, 20 others; lensscan evaluate {config}"
    other = str(tmp_path / "e.toml")
    run_evaluation(str(config), ensemble=other, out=tmp_path / "other", logits=tmp_path / "again", cards=True)
    assert read_card(copies[0]).metrics[-1].sample.endswith(f"; lensscan evaluate {config} --ensemble {other}")


def test_logits_of_an_earlier_evaluation_are_taken_over_and_give_the_same(evaluated, tmp_path, ensemble, monkeypatch):
    before = evaluated[0]
    config = before.parent / "e.toml"
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.evaluate.scores.score_cutouts", lambda *args, **keys: pytest.fail("scored again"))
        run_evaluation(str(config), out=tmp_path / "again", logits=before)
    for name in ("evaluation.json", "scores.parquet"):
        assert (tmp_path / "again" / name).read_bytes() == (before / name).read_bytes()


def test_stamps_that_changed_and_other_members_are_scored_again(tmp_path, ensemble, monkeypatch):
    members = load_ensemble(str(ensemble)).members
    samples = (pools_text(name, "simulations", write_pool(tmp_path / name, 12, seed)) for seed, name in enumerate("ab"))
    config = write_config(tmp_path / "e.toml", ensemble, *samples)
    run_evaluation(str(config), out=tmp_path / "one")
    write_pool(tmp_path / "b", 12, 7)
    other = members[0].card.model_copy(update={"normalisation": NormalisationConfig(peak_softening=0.1)})
    copy = shutil.copytree(members[0].path, tmp_path / "changed")
    write_card(copy, other)
    listed = "".join(f'[[members]]\npackage = "{path}"\n' for path in (copy, *(one.path for one in members[1:])))
    (tmp_path / "m.toml").write_text(f'name = "m"\ndescription = "d"\nrule = "mean"\n{listed}', encoding="utf-8")
    asked = []

    def noted(image, *args, ensemble, **keys):
        asked.append((len(image), ensemble.names))
        return score_cutouts(image, *args, ensemble=ensemble, **keys)

    monkeypatch.setattr("pipeline.evaluate.scores.score_cutouts", noted)
    run_evaluation(str(config), ensemble=str(tmp_path / "m.toml"), out=tmp_path / "two", logits=tmp_path / "one")
    names = tuple(member.name for member in members)
    assert asked == [(12, names[:1]), (12, names)]
    monkeypatch.undo()
    run_evaluation(str(config), ensemble=str(tmp_path / "m.toml"), out=tmp_path / "three")
    for name in ("evaluation.json", "scores.parquet"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "three" / name).read_bytes()


def test_scores_that_do_not_say_what_they_rest_on_are_refused(evaluated, tmp_path):
    before = evaluated[0]
    with pytest.raises(ConfigError, match=r"no file .*scores\.parquet"):
        run_evaluation(str(before.parent / "e.toml"), out=tmp_path / "out", logits=tmp_path)
    pq.write_table(pq.read_table(before / "scores.parquet").replace_schema_metadata(None), tmp_path / "scores.parquet")
    with pytest.raises(ConfigError, match="does not say what its logits rest on"):
        run_evaluation(str(before.parent / "e.toml"), out=tmp_path / "out", logits=tmp_path)


def test_shipped_evaluations_are_whole(monkeypatch):
    monkeypatch.setenv("LENSSCAN_DATA", "/somewhere")
    for name in shipped("evaluations"):
        path = find(name, "evaluations")
        if (kind := kind_of(path)) is not None:  # its own tests read it
            assert kind in KINDS
            continue
        config, absent = load_evaluation(path)
        assert not absent
        assert config.name


def test_confirmed_lenses_stand_against_their_neighbours(real_data, tmp_path):
    (tmp_path / "stamps").mkdir()
    for path in sorted((real_data / "ps1-lenses" / "stamps").iterdir())[::10]:
        (tmp_path / "stamps" / path.name).symlink_to(path)
    config = RealLensesConfig.model_validate(
        {
            "name": "ps1",
            "column": "real",
            "kind": "stamps",
            "stamps": str(tmp_path / "stamps"),
            "labels": str(real_data / "ps1-lenses" / "labels.csv"),
            "select": {"cls": "lensed_galaxies", "snrmax_i": "> 10"},
            "bands": BANDS,
            "pixel_scale": "0.25 arcsec",
            "neighbours_of": "all",
        }
    )
    sample = open_real_lenses(config, BaselineConfig(), 1)
    assert 5 <= sample.lens.sum() <= 20
    assert (~sample.lens).sum() >= 5
    assert (sample.truth["distance"][~sample.lens] >= 5).all()
    mags = sample.truth["mag_r"]
    assert np.nanmin(mags[sample.lens]) <= mags[~sample.lens].min()
    assert mags[~sample.lens].max() <= np.nanmax(mags[sample.lens])
