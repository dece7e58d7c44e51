"""Gates fitted for a stated loss, on logits whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.evaluate.calibration.cascade import candidates, cascade_figures, fit_cascade, held_out_loss
from pipeline.evaluate.calibration.data import LabelledLogits
from pipeline.models.card import find_package
from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.models.ensemble_publish import save_ensemble
from pipeline.models.package import load_package

N_LENSES, N_OTHERS = 4000, 6000
PRIOR = FLOOR = 1e-3


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    whole = load_ensemble("ground")
    return Ensemble("pair", whole.members[:2], (1.0, 1.0), "mean_log_odds")


@pytest.fixture(scope="module")
def gates():
    return tuple(load_package(find_package(name)) for name in ("ground_resnet", "ground_hosts"))


@pytest.fixture(scope="module")
def sample() -> tuple[LabelledLogits, np.ndarray]:
    """Members that agree, and gates that see the same with some noise."""
    rng = np.random.default_rng(3)
    lens = np.arange(N_LENSES + N_OTHERS) < N_LENSES
    truth = rng.normal(np.where(lens, 4, -4), 2)
    members = truth[:, None] + rng.normal(0, 0.3, (len(lens), 2))
    looks = truth[:, None] + rng.normal(0, 1.5, (len(lens), 2))
    members[7], looks[11] = np.nan, np.nan
    return LabelledLogits(members.astype(np.float32), lens, "made", {}), looks.astype(np.float32)


def fit(ensemble, gates, sample, loss=0.01):
    stamps, looks = sample
    return fit_cascade(ensemble, gates, stamps, looks[:, : len(gates)], views=1, loss=loss, prior=PRIOR, floor=FLOOR)


def lost(ensemble: Ensemble, sample) -> tuple[int, int]:
    """Candidates among the lenses that some gate stops, and all, counted stamp by stamp."""
    stamps, looks = sample
    score = ensemble.score(stamps.logits, PRIOR).score
    stopped = number = 0
    for row in range(len(stamps.lens)):
        if not stamps.lens[row] or not score[row] >= FLOOR or np.isnan(looks[row]).any():
            continue
        number += 1
        total = [sum(w * looks[row, k] for k, w in enumerate(gate.weights)) for gate in ensemble.gates().config.gates]
        gates = ensemble.gates().config.gates
        stopped += any(value < gate.threshold for value, gate in zip(total, gates, strict=True))
    return stopped, number


@pytest.mark.parametrize("number", [1, 2])
def test_gates_lose_the_stated_share_of_the_lenses_that_are_candidates_and_no_more(ensemble, gates, sample, number):
    fitted = fit(ensemble, gates[:number], sample)
    stopped, total = lost(fitted, (sample[0], sample[1][:, :number]))
    assert fitted.gates().config.n_candidates == total
    assert stopped <= 0.01 * total
    assert stopped >= 0.01 * total - 2
    figures = cascade_figures(fitted, sample[0], sample[1][:, :number])
    # Of the row without gate logits the figures know that it passes.
    assert abs(figures.candidates - total) <= 1
    assert figures.lost.value == pytest.approx(stopped / figures.candidates)


def test_two_gates_pass_fewer_others_than_one_for_the_same_loss(ensemble, gates, sample):
    one, two = fit(ensemble, gates[:1], sample), fit(ensemble, gates, sample)
    assert two.gates().config.passed < one.gates().config.passed


def test_a_larger_loss_passes_fewer_others(ensemble, gates, sample):
    passed = [fit(ensemble, gates[:1], sample, loss).gates().config.passed for loss in (0.001, 0.01, 0.1)]
    assert passed == sorted(passed, reverse=True)
    assert passed[0] > passed[2]


def test_held_out_folds_lose_about_the_stated_share(ensemble, gates, sample):
    held = held_out_loss(fit(ensemble, gates, sample), *sample, folds=4, seed=1)
    assert held is not None
    assert held.value == pytest.approx(0.01, abs=0.006)


def test_too_few_lenses_for_a_loss_are_refused_with_the_number_needed(ensemble, gates, sample):
    stamps, looks = sample
    few = replace(stamps, logits=stamps.logits[3900:4100], lens=stamps.lens[3900:4100])
    with pytest.raises(ConfigError, match="give at least 1,000"):
        fit(ensemble, gates, (few, looks[3900:4100]), 0.001)


def test_a_fitted_cascade_is_read_back_as_it_was_written(ensemble, gates, sample, tmp_path):
    fitted = fit(ensemble, gates, sample)
    save_ensemble(tmp_path / "cascade.toml", fitted, "test")
    back = load_ensemble(tmp_path / "cascade.toml")
    assert back.gates().config == fitted.gates().config
    assert back.fingerprint(cascade=True) == fitted.fingerprint(cascade=True)
    assert candidates(back, sample[0].logits, PRIOR, FLOOR).sum() > 0
