"""Which stamps a report shows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.stamps import Stamp
from pipeline.config import validate
from pipeline.evaluate.config import EvaluationConfig
from pipeline.evaluate.report.gallery import gallery
from pipeline.evaluate.samples.sample import Sample
from pipeline.evaluate.scores import Scores

BANDS = ("g", "r", "i")


def rows_shown(
    score: npt.NDArray[np.float32], lens: npt.NDArray[np.bool_], group: npt.NDArray[np.int64] | None, choice
):
    stamp = Stamp(np.ones((3, 24, 24), np.float32), np.zeros((3, 24, 24), np.uint32), BANDS, 0.3)
    sample = Sample(
        name="made", column="injections", bands=BANDS, pixel_scale=0.3, lens=lens, truth={}, parts=lambda: iter(()),
        stamp=lambda row: stamp, group=group,
    )  # fmt: skip
    n = len(score)
    scores = Scores(
        sample, np.arange(n), score[:, None], score[:, None], score, np.stack([score, score], 1), np.zeros((n, 3)),
        np.zeros(0, np.int64), np.zeros((0, 3, 24, 24), np.float32),
    )  # fmt: skip
    source = {"name": "made", "column": "injections", "kind": "pools", "pools": ["none"]}
    config = validate(EvaluationConfig, {"name": "e", "samples": [source], "gallery": {"stamps": 3}}, "made up")
    return [picture.row for picture in gallery(scores, ("one",), config) if picture.choice == choice]


def test_false_alarms_come_highest_first_and_an_object_only_once():
    score = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.95], np.float32)
    lens = np.array([False, False, False, False, False, True])
    assert rows_shown(score, lens, None, "false alarms") == [0, 1, 2]
    assert rows_shown(score, lens, np.array([7, 7, 3, 7, 4, 7]), "false alarms") == [0, 2, 4]


def test_a_missed_lens_is_shown_once_though_its_galaxy_has_several():
    score = np.array([0.01, 0.02, 0.03, 0.5, 0.4], np.float32)
    lens = np.array([True, True, True, False, False])
    assert rows_shown(score, lens, np.array([1, 1, 2, 3, 4]), "missed") == [0, 2]
