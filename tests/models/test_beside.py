"""Members of weight 0, which stand beside the rule: a score of their own, and no part in the ensemble's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.evaluate.calibration.data import logits_of_table
from pipeline.evaluate.calibration.ensemble import fit_ensemble
from pipeline.evaluate.calibration.shift import fit_survey_ensemble, shift_ensemble
from pipeline.models.combination import RULES, Rule
from pipeline.models.ensemble import Combined, Ensemble, load_ensemble
from pipeline.models.ensemble_publish import save_ensemble
from pipeline.models.familiarity_fit import fit_familiarity
from tests.models.test_ensemble import write_ensemble, write_member

RANDOM = np.random.default_rng(5)
LENS = np.arange(600) % 3 == 0
LOGITS = (3 * LENS[:, None] + RANDOM.normal(-1, 2, (600, 3))).astype(np.float32)
"""Of the members `one`, `odd` and `two`."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    folder = tmp_path_factory.mktemp("beside")
    for name in ("one", "odd", "two"):
        write_member(folder, name)
    write_member(folder, "other_light", bands=("i", "z"))
    return load_ensemble(write_ensemble(folder, [("one", 1.0), ("odd", 0.0), ("two", 3.0)]))


def bytes_of(found: Combined) -> list[bytes]:
    return [part.tobytes() for part in (found.score, found.score_std, found.disagreement)]


@pytest.mark.parametrize("rule", RULES)
def test_the_combined_score_has_the_bytes_that_it_has_without_the_member(whole: Ensemble, rule: Rule) -> None:
    alone = fit_ensemble(whole.without_beside(), LOGITS[:, [0, 2]], LENS, "here", rule=rule)
    fitted = fit_ensemble(whole, LOGITS, LENS, "here", rule=rule)
    assert fitted.combination == alone.combination
    assert fitted.calibration == alone.calibration
    logits = LOGITS.copy()
    logits[7, 1] = np.nan
    found, expected = fitted.score(logits, 1e-3), alone.score(logits[:, [0, 2]], 1e-3)
    assert bytes_of(found) == bytes_of(expected)
    assert np.isfinite(found.score).all()
    assert np.isnan(found.members[:, 1]).nonzero()[0].tolist() == [7]
    assert found.members[:, [0, 2]].tobytes() == expected.members.tobytes()


def test_a_member_beside_the_rule_is_calibrated_by_itself(whole: Ensemble) -> None:
    fitted = fit_ensemble(whole, LOGITS, LENS, "here", rule="mean_log_odds")
    alone = fit_ensemble(replace(whole, weights=(0.0, 1.0, 0.0)), LOGITS, LENS, "here", rule="median")
    assert fitted.members[1].calibration == alone.members[1].calibration != whole.members[1].calibration
    assert fitted.names == whole.names
    assert fitted.weights == (1.0, 0.0, 3.0)


def test_one_that_ranks_lenses_backwards_or_has_no_logits_keeps_its_calibration(whole: Ensemble) -> None:
    for column in (-LOGITS[:, 0], np.full(600, np.nan)):
        logits = LOGITS.copy()
        logits[:, 1] = column
        by_lenses = fit_ensemble(whole, logits, LENS, "here", rule="stacking")
        by_survey = fit_survey_ensemble(whole, logits[LENS], logits[~LENS], 1e-3, "there", rule="stacking")
        for fitted in (by_lenses, by_survey):
            assert fitted.members[1].calibration == whole.members[1].calibration
            assert fitted.members[0].calibration != whole.members[0].calibration
    with pytest.raises(ConfigError, match="lenses"):
        fit_ensemble(replace(whole, weights=(1.0, 1.0, 1.0)), logits, LENS, "here", rule="stacking")


def test_a_survey_shifts_every_member_it_can_and_combines_those_of_the_rule(whole: Ensemble) -> None:
    moved = shift_ensemble(whole, LOGITS, 1e-3, "there")
    alone = shift_ensemble(whole.without_beside(), LOGITS[:, [0, 2]], 1e-3, "there")
    assert set(moved.shifts) == {"one", "odd", "two", "ensemble"}
    assert moved.shifts["ensemble"] == alone.shifts["ensemble"]
    assert (
        moved.ensemble.score(LOGITS, 1e-3).score.tobytes()
        == alone.ensemble.score(LOGITS[:, [0, 2]], 1e-3).score.tobytes()
    )


def test_a_table_of_logits_need_not_have_those_of_members_beside_the_rule(whole: Ensemble, tmp_path: Path) -> None:
    path = tmp_path / "logits.csv"
    path.write_text("logit_one,logit_two,label\n0.5,1.5,1\n-1,-2,0\n")
    np.testing.assert_array_equal(logits_of_table(path, whole).logits, [[0.5, np.nan, 1.5], [-1.0, np.nan, -2.0]])


def test_what_is_familiar_to_it_does_not_count(whole: Ensemble) -> None:
    vectors = RANDOM.normal(0, 1, (200, 4)).astype(np.float32)
    known = fit_familiarity(vectors[::2], LENS[:100], vectors[1::2], "numbers")
    all_known = replace(whole, members=tuple(replace(member, familiarity=known) for member in whole.members))
    near, far = 0.0, 99.0
    assert all_known.unfamiliar(np.array([[near, far, near], [far, near, near]])).tolist() == [0.0, 0.5]


def test_its_bands_are_needed_but_are_none_of_the_rule(whole: Ensemble) -> None:
    folder = whole.members[0].path.parent
    ensemble = load_ensemble(write_ensemble(folder, [("one", 1.0), ("other_light", 0.0)]))
    assert ensemble.bands() == ("g", "r", "i", "z")
    assert ensemble.ruling_bands() == ("g", "r", "i")


def test_the_first_member_of_the_rule_embeds_unless_another_is_named(whole: Ensemble) -> None:
    assert replace(whole, weights=(0.0, 1.0, 1.0)).embedder(True) == 1
    assert whole.embedder("odd") == 1


def test_its_weights_change_logits_and_its_calibration_changes_scores_alone(whole: Ensemble) -> None:
    alone = whole.without_beside()
    assert whole.fingerprint() != alone.fingerprint()
    other = replace(whole, members=(whole.members[0], replace(whole.members[1], weights_sha256="0"), whole.members[2]))
    assert other.fingerprint() != whole.fingerprint()
    counted = replace(whole, weights=(1.0, 1.0, 3.0))
    assert counted.fingerprint() == whole.fingerprint()
    assert counted.calibration_fingerprint() != whole.calibration_fingerprint()


def test_an_ensemble_with_one_is_read_as_it_was_written(whole: Ensemble, tmp_path: Path) -> None:
    fitted = fit_ensemble(whole, LOGITS, LENS, "here", rule="stacking")
    save_ensemble(tmp_path / "fitted.toml", fitted, "made here")
    again = load_ensemble(tmp_path / "fitted.toml")
    assert (again.weights, again.combination) == (fitted.weights, fitted.combination)
    assert again.score(LOGITS, 1e-3).score.tobytes() == fitted.score(LOGITS, 1e-3).score.tobytes()


def test_parameters_of_a_rule_for_it_and_a_rule_of_nobody_are_refused(whole: Ensemble, tmp_path: Path) -> None:
    folder = whole.members[0].path.parent
    path = write_ensemble(folder, [("one", 1.0), ("odd", 0.0)])
    text = path.read_text()
    path.write_text(
        'rule = "stacking"\n' + text + "\n[combination]\nintercept = 0.0\ncoefficients = {one = 1.0, odd = 1.0}\n"
    )
    with pytest.raises(ConfigError, match="odd is no member"):
        load_ensemble(path)
    with pytest.raises(ConfigError, match="every member has weight 0"):
        load_ensemble(write_ensemble(folder, [("one", 0.0), ("odd", 0.0)]))
