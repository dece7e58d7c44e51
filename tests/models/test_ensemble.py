"""Ensembles: calibration, combination, fingerprints, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.evaluate.calibration.ensemble import fit_ensemble
from pipeline.models import build
from pipeline.models.calibration import Calibration, log_odds
from pipeline.models.combination import RULES, Rule
from pipeline.models.ensemble import Ensemble, load_ensemble
from pipeline.models.ensemble_publish import save_ensemble
from pipeline.models.familiarity import Familiarity
from pipeline.models.familiarity_fit import fit_familiarity
from pipeline.models.publish import save_package, write_calibration
from tests.cards import card


def write_member(folder: Path, name: str, bands: tuple[str, ...] = ("g", "r", "i"), slope: float = 1.0) -> None:
    calibration = Calibration(slope=slope, offset=0.5, prior=0.4, n_lenses=1, n_others=1, fitted_on="")
    save_package(
        folder / name, card(name=name, bands=bands), build("cnn", 2 * len(bands) + 1, {"width": 8}), calibration
    )


def write_ensemble(folder: Path, members: list[tuple[str, float]]) -> Path:
    lines = ['name = "test"', 'description = "random weights"']
    for name, weight in members:
        lines += ["[[members]]", f'package = "{name}"', f"weight = {weight}"]
    path = folder / "test.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def ensemble(tmp_path: Path) -> Ensemble:
    write_member(tmp_path, "one")
    write_member(tmp_path, "two", slope=2.0)
    return load_ensemble(write_ensemble(tmp_path, [("one", 1.0), ("two", 3.0)]))


def test_members_are_found_beside_the_file_and_keep_their_order(ensemble: Ensemble):
    assert ensemble.names == ("one", "two")
    assert ensemble.bands() == ("g", "r", "i")


def test_calibrated_score_by_hand(ensemble: Ensemble):
    scores = ensemble.calibrated(np.array([[1.0, -0.5]]), prior=0.01)
    odds = [np.exp(slope * value + 0.5) * (0.01 / 0.99) / (0.4 / 0.6) for slope, value in ((1, 1.0), (2, -0.5))]
    np.testing.assert_allclose(scores[0], [o / (1 + o) for o in odds], rtol=1e-6)
    assert scores.dtype == np.float32


def test_the_prior_of_the_fit_gives_plain_platt():
    calibration = Calibration(slope=2, offset=-1, prior=0.3, n_lenses=1, n_others=1, fitted_on="")
    np.testing.assert_allclose(log_odds(np.array([0.25, 3.0]), calibration, 0.3), [-0.5, 5.0])


def test_combination_is_the_weighted_mean_of_log_odds_by_hand(ensemble: Ensemble):
    # Calibrations of slopes 1 and 2 and offset 0.5 at the prior of their fit.
    logits = np.array([[np.log(0.2 / 0.8) - 0.5, (np.log(0.6 / 0.4) - 0.5) / 2]])
    found = ensemble.score(logits, 0.4)
    odds = (0.2 / 0.8) ** 0.25 * (0.6 / 0.4) ** 0.75
    np.testing.assert_allclose(found.members, [[0.2, 0.6]], rtol=1e-5)
    np.testing.assert_allclose(found.score, [odds / (1 + odds)], rtol=1e-5)
    np.testing.assert_allclose(found.score_std, [0.2], rtol=1e-5)
    # In favour of a lens, beyond the prior odds of 0.4 / 0.6: the first member nothing.
    np.testing.assert_allclose(found.disagreement, [np.log((0.6 / 0.4) / (0.4 / 0.6)) / 2], rtol=1e-5)


def test_nan_stays_nan_and_certainty_stays_finite(ensemble: Ensemble):
    found = ensemble.score(np.array([[np.nan, 2.0], [900.0, 900.0], [-900.0, -900.0]]), prior=1e-4)
    assert np.isnan(found.members[0, 0])
    assert np.isfinite(found.members[0, 1])
    assert np.isnan([found.score[0], found.score_std[0], found.disagreement[0]]).all()
    assert found.score[1] == pytest.approx(1)
    assert 0 <= found.score[2] < 1e-20


def test_order_of_scores_does_not_depend_on_the_prior(ensemble: Ensemble):
    logits = np.random.default_rng(1).normal(0, 3, (200, 2))
    orders = [np.argsort(ensemble.score(logits, prior).score, kind="stable") for prior in (0.01, 0.3)]
    assert np.mean(orders[0] == orders[1]) > 0.95


@pytest.mark.parametrize("prior", [0.0, 1.0, -0.1, float("nan")])
def test_an_impossible_prior_is_refused(ensemble: Ensemble, prior: float):
    with pytest.raises(ConfigError, match="prior"):
        ensemble.calibrated(np.zeros((1, 2)), prior)


def test_wrong_number_of_members_is_refused(ensemble: Ensemble):
    with pytest.raises(ValueError, match=r"\(n, 2\)"):
        ensemble.score(np.zeros((5, 3)), 0.5)


def test_a_missing_band_names_the_member_the_band_and_what_fits(ensemble: Ensemble):
    with pytest.raises(ModelMismatch, match=r"'one' needs bands g, r, i; the data have r, H: g, i is missing") as error:
        ensemble.check(("r", "H"))
    assert "No shipped ensemble fits" in str(error.value)
    ensemble.check(("u", "i", "r", "g"))


def test_a_mismatch_names_shipped_ensembles_that_fit(tmp_path: Path):
    write_member(tmp_path, "infrared", bands=("J", "H"))
    infrared = load_ensemble(write_ensemble(tmp_path, [("infrared", 1.0)]))
    with pytest.raises(ModelMismatch, match="that fit: ground"):
        infrared.check(("g", "r", "i"))


def test_far_too_coarse_pixels_and_tiny_cutouts_are_refused(ensemble: Ensemble):
    ensemble.check(("g", "r", "i"), pixel_scale=0.5, size_pix=40)
    with pytest.raises(ModelMismatch, match="2 arcsec is over"):
        ensemble.check(("g", "r", "i"), pixel_scale=2.0)
    with pytest.raises(ModelMismatch, match=r"cutouts.size"):
        ensemble.check(("g", "r", "i"), pixel_scale=0.3, size_pix=20)


def test_calibration_and_rule_change_one_fingerprint_and_weights_the_other(tmp_path: Path):
    for name in ("one", "two"):
        write_member(tmp_path, name)
    path = write_ensemble(tmp_path, [("one", 1.0), ("two", 1.0)])
    before = load_ensemble(path)
    write_calibration(tmp_path / "one", Calibration(slope=5, offset=0, prior=0.5, n_lenses=1, n_others=1, fitted_on=""))
    recalibrated = load_ensemble(path)
    assert recalibrated.fingerprint() == before.fingerprint()
    assert recalibrated.calibration_fingerprint() != before.calibration_fingerprint()
    reweighted = load_ensemble(write_ensemble(tmp_path, [("one", 1.0), ("two", 2.0)]))
    assert reweighted.fingerprint() == before.fingerprint()
    assert reweighted.calibration_fingerprint() != recalibrated.calibration_fingerprint()
    write_member(tmp_path, "two")
    assert load_ensemble(path).fingerprint() != before.fingerprint()


def test_two_members_of_one_name_are_refused(tmp_path: Path):
    write_member(tmp_path / "a", "one")
    write_member(tmp_path / "b", "one")
    with pytest.raises(ModelMismatch, match="called the same"):
        load_ensemble(write_ensemble(tmp_path, [("a/one", 1.0), ("b/one", 1.0)]))


def test_an_unknown_ensemble_lists_the_shipped():
    with pytest.raises(ConfigError, match="no shipped config 'frist'"):
        load_ensemble("frist")


def add(path: Path, text: str) -> Path:
    path.write_text(path.read_text(encoding="utf-8").replace("[[members]]", text + "[[members]]", 1), encoding="utf-8")
    return path


def test_an_ensembles_own_calibration_maps_the_likelihood_ratio(tmp_path: Path):
    write_member(tmp_path, "one")
    write_member(tmp_path, "two", slope=2.0)
    bare = load_ensemble(write_ensemble(tmp_path, [("one", 1.0), ("two", 1.0)]))
    text = 'rule = "median"\n[calibration]\nslope = 0.5\noffset = 1.0\nprior = 0.5\nn_lenses = 1\nn_others = 1\n'
    path = add(tmp_path / "test.toml", text + 'fitted_on = ""\n')
    calibrated = load_ensemble(path)
    logits = np.array([[1.0, -0.5], [3.0, 4.0]])
    np.testing.assert_allclose(calibrated.evidence(logits, 0.01), 0.5 * bare.evidence(logits, 0.01) + 1.0, rtol=1e-5)
    np.testing.assert_allclose(calibrated.evidence(logits, 0.01), calibrated.evidence(logits, 0.3))
    assert calibrated.calibration_fingerprint() != bare.calibration_fingerprint()
    assert calibrated.fingerprint() == bare.fingerprint()


def test_weights_for_a_missing_member_name_it_and_the_file(tmp_path: Path):
    for name in ("one", "two"):
        write_member(tmp_path, name)
    path = add(
        write_ensemble(tmp_path, [("one", 1.0), ("two", 1.0)]),
        'rule = "weighted"\n[combination]\nweights = { one = 1.0, three = 2.0 }\n',
    )
    with pytest.raises(ConfigError, match=r"test\.toml: weights .* two is missing; three is no member"):
        load_ensemble(path)


def test_members_that_share_no_band_are_refused(tmp_path: Path):
    write_member(tmp_path, "optical")
    write_member(tmp_path, "space", bands=("VIS",))
    with pytest.raises(ModelMismatch, match="'optical' reads g, r, i and shares no band with space"):
        load_ensemble(write_ensemble(tmp_path, [("optical", 1.0), ("space", 1.0)]))


@pytest.mark.parametrize("rule", RULES)
def test_a_fitted_ensemble_is_written_and_read_back(ensemble: Ensemble, tmp_path: Path, rule: Rule):
    rng = np.random.default_rng(0)
    lens = np.arange(400) < 200
    logits = rng.normal(0, 2, (400, 2)) + 3 * lens[:, None]
    fitted = fit_ensemble(ensemble, logits, lens, "made up", rule=rule, method="beta")
    values = rng.normal(0, 1, (60, 16)).astype(np.float32)
    known = fit_familiarity(values[:40], np.zeros(40), values[40:], "noise")
    fitted = replace(fitted, members=(replace(fitted.members[0], familiarity=known), fitted.members[1]))
    save_ensemble(tmp_path / "else where" / "fitted.toml", fitted, "for the test")
    back = load_ensemble(tmp_path / "else where" / "fitted.toml")
    assert back.calibration_fingerprint() == fitted.calibration_fingerprint()
    assert back.fingerprint() == fitted.fingerprint() != ensemble.fingerprint()
    assert back.score(logits, 0.01).score.tobytes() == fitted.score(logits, 0.01).score.tobytes()


def test_what_is_unfamiliar_is_the_mean_of_the_members_that_can_tell(ensemble: Ensemble):
    known = Familiarity(torch.zeros(1, 2), torch.eye(2), np.array([0.0, 2.0, 4.0], np.float32), "")
    distances = np.array([[2.0, 1.0], [4.0, 9.0], [np.nan, 1.0]], np.float32)
    assert np.isnan(ensemble.unfamiliar(distances)).all()
    one = replace(ensemble, members=(replace(ensemble.members[0], familiarity=known), ensemble.members[1]))
    np.testing.assert_allclose(one.unfamiliar(distances), [0.5, 1.0, np.nan])
    both = replace(ensemble, members=tuple(replace(member, familiarity=known) for member in ensemble.members))
    np.testing.assert_allclose(both.unfamiliar(distances), [0.375, 1.0, np.nan])
