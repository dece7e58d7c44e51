"""The linear probe against scikit-learn and on samples whose answer is known; splits; slices; histories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pipeline.errors import ConfigError
from pipeline.evaluate.breakdown import breakdown
from pipeline.evaluate.config import ProbeConfig
from pipeline.evaluate.histories import read_histories
from pipeline.evaluate.logistic import class_weights, logistic_regression
from pipeline.evaluate.realism.probe import control, probe
from pipeline.evaluate.report.chart import Axis, Series, chart
from pipeline.evaluate.splits import SKY, SOURCE, STAMP, Identity, check_splits, training_identity

EACH = np.arange(10_000)


def cloud(n: int, shift: float, seed: int, axes: int = 12) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (n, axes)) + shift * np.eye(axes)[0]


def probed(first: np.ndarray, second: np.ndarray, groups: tuple[np.ndarray, np.ndarray] | None = None):
    groups = groups or (EACH[: len(first)], EACH[: len(second)])
    return probe(first, second, groups, ProbeConfig(), replicates=200, seed=1)


def test_the_regression_is_scikit_learns():
    x = np.concatenate([cloud(80, 1, 1), cloud(40, 0, 2)])
    truth = np.arange(120) < 80
    design = np.column_stack([x, np.ones(120)])
    mine = logistic_regression(design, truth.astype(float), class_weights(truth, 0.5), ridge=4.0)
    theirs = LogisticRegression(C=1 / 4.0, class_weight="balanced", tol=1e-8, max_iter=1000).fit(x, truth)
    assert mine[:-1] == pytest.approx(theirs.coef_[0], abs=1e-4)
    assert mine[-1] == pytest.approx(theirs.intercept_[0], abs=1e-4)


def test_what_differs_is_told_apart_as_well_as_it_can_be():
    # Two unit normals 1.5 apart in one of 12 directions: at best Phi(1.5 / sqrt 2) = 0.856.
    found = probed(cloud(800, 1.5, 1), cloud(800, 0, 2))
    assert found.value == pytest.approx(0.856, abs=0.03)
    assert found.low < found.value < found.high
    assert (found.n_lenses, found.n_others) == (800, 800)


def test_two_halves_of_one_sample_are_not_told_apart():
    found = control(cloud(1000, 0, 1), EACH[:1000], ProbeConfig(), seed=1)
    assert found.value == pytest.approx(0.5, abs=0.04)
    assert found.low < 0.5 < found.high


def test_copies_of_a_few_sources_teach_the_probe_nothing():
    # 12 sources copied 30 times, and 12 others: by rows any line tells them apart, by groups none does.
    few, rest = cloud(12, 0, 1, 60), cloud(12, 0, 2, 60)
    groups = np.repeat(np.arange(12), 30)
    by_rows = probed(np.repeat(few, 30, axis=0), np.repeat(rest, 30, axis=0))
    by_groups = probed(np.repeat(few, 30, axis=0), np.repeat(rest, 30, axis=0), (groups, groups))
    assert by_rows.value > 0.9
    assert by_groups.value < 0.8


def test_too_few_lenses_are_not_probed():
    found = probed(cloud(9, 0, 1), cloud(100, 0, 2))
    assert found.value is None
    assert "fewer than 10 groups" in str(found.reason)


def identity(name: str, stamps=(), sources=(), cells=()) -> Identity:
    return Identity(name, frozenset(stamps), frozenset(sources), frozenset(cells))


def test_samples_that_share_nothing_pass_and_what_could_not_be_checked_is_said():
    checks = check_splits([identity("a", [b"1"], [5, 6])], identity("training", [b"2"], [7]))
    assert [(check.what, check.shared) for check in checks] == [(STAMP, 0), (SOURCE, 0), (SKY, None)]


@pytest.mark.parametrize("shared", [{"stamps": [b"3"]}, {"sources": [3]}, {"cells": [3]}])
def test_a_sample_that_shares_with_the_training_is_refused(shared):
    with pytest.raises(ConfigError, match="share with the training pools"):
        check_splits([identity("a", **shared)], identity("training", **shared))


def test_identities_are_read_from_pools_and_places_a_stamp_apart_differ(tmp_path: Path):
    ra = np.array([10.0, 10.0, 10.0 + 60 / 3600, np.nan])
    values = {"label": np.arange(4) % 2, "bands": np.array(["g"]), "pixel_scale": np.float64(0.3), "seed": np.int64(1)}
    np.savez(
        tmp_path / "pool-0.npz",
        image=np.zeros((4, 1, 4, 4), np.float32),
        theta_E=np.array([1.0, np.nan, 2.0, np.nan]),
        source_id=np.array([7, -1, 7, -1]),
        ra=ra,
        dec=np.where(np.isfinite(ra), 0.0, np.nan),
        **values,
    )
    found = training_identity((str(tmp_path / "pool-*.npz"),))
    assert found.sources == {7}
    assert len(found.cells) == 2
    # The last row has nothing that is its alone.
    assert len(found.stamps) == 3
    with pytest.raises(ConfigError, match="no pool matches"):
        training_identity((str(tmp_path / "none*.npz"),))


def test_without_training_pools_nothing_is_claimed():
    (check,) = check_splits([identity("a", [b"1"])], None)
    assert check.shared is None
    assert "set `training`" in check.note


def test_samples_that_share_with_one_another_are_told_of():
    checks = check_splits([identity("a", [b"1"], [5]), identity("b", [b"1"], [6])], identity("training", [b"9"], [9]))
    assert {(check.what, check.shared) for check in checks if check.second == "b"} == {(STAMP, 1), (SOURCE, 0)}


def test_numbers_make_bins_of_equal_count_and_names_a_slice_each():
    values = np.concatenate([np.arange(60.0), [np.nan] * 40])
    lens, above = np.arange(100) < 60, np.arange(100) % 60 >= 30
    bins = breakdown("theta_E", values, lens, above)
    assert [item.n for item in bins] == [15, 15, 15, 15]
    assert [item.value for item in bins] == [0, 0, 1, 1]
    assert bins[0].middle == 7
    kinds = np.where(lens, "lens", np.where(np.arange(100) % 2, "spiral", "star"))
    named = breakdown("kind", kinds, lens, above)
    assert [(item.label, item.lens, item.n) for item in named] == [
        ("lens", True, 60), ("spiral", False, 20), ("star", False, 20),
    ]  # fmt: skip


def test_histories_are_read_and_a_run_without_one_is_named(tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.4, "auroc": 0.9}\n'
    )
    (history,) = read_histories((str(tmp_path / "run"),))
    assert history.series == {"loss": ((1, 0.5), (2, 0.4)), "auroc": ((2, 0.9),)}
    with pytest.raises(ConfigError, match="no training history"):
        read_histories((str(tmp_path / "none"),))
    (tmp_path / "run" / "metrics.jsonl").write_text("loss 3\n")
    with pytest.raises(ConfigError, match="not a training history"):
        read_histories((str(tmp_path / "run"),))


def test_a_chart_leaves_out_what_an_axis_has_no_place_for():
    drawn = chart("<t>", [Series("a", [0.0, 1.0, 10.0, np.nan], [0.1, 0.2, 0.3, 0.4])], Axis("x", log=True), Axis("y"))
    assert "&lt;t&gt;" in drawn
    assert drawn.count("L") == 1
    assert "nan" not in drawn
    assert "nothing measured" in chart("t", [Series("a", [0.0], [1.0])], Axis("x", log=True), Axis("y"))
