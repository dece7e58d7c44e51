"""Probes of an embedding with few labels, drawn again and again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.evaluate.few_shot.heads import FORMS
from pipeline.evaluate.figures import HIGH, LOW
from pipeline.evaluate.metrics import auroc, completeness_at_fpr


@dataclass(frozen=True)
class Spread:
    """The median over draws of labels, with the quantiles between which 68 % of the draws lie."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> Spread:
        """That of some values, at least one."""
        low, middle, high = np.quantile(values, [LOW, 0.5, HIGH]).tolist()
        return cls(middle, low, high)


@dataclass(frozen=True)
class Embedded:
    """Embeddings of labelled stamps: float32 (n, d), and whether each is a lens, bool (n,)."""

    embedding: npt.NDArray[np.float32]
    lens: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Probed:
    """What the probes of one embedding give.

    Attributes
    ----------
    form : str
        That was chosen.
    completeness, auroc : float64 (draws,)
        Of the test.
    """

    form: str
    completeness: npt.NDArray[np.float64]
    auroc: npt.NDArray[np.float64]


def draw_labels(
    lens: npt.NDArray[np.bool_], number: int, lens_share: float, draws: int, seed: int
) -> list[npt.NDArray[np.int64]]:
    """Rows of `number` labelled stamps, `draws` times; at least one of each class.

    Draw k of a number depends on the seed, k and the number alone, so that every network is given the same labels.

    Raises
    ------
    ConfigError
        If there are not so many of a class.
    """
    n_lenses = min(max(1, round(lens_share * number)), number - 1)
    wanted = ((lens, n_lenses), (~lens, number - n_lenses))
    for members, count in wanted:
        if members.sum() < count:
            kind = "lenses" if members is lens else "others"
            raise ConfigError(f"{number} labels need {count} {kind}, and the labelled pools have {int(members.sum())}.")
    answer = []
    for draw in range(draws):
        rng = np.random.default_rng([seed, number, draw])
        rows = [rng.permutation(np.flatnonzero(members))[:count] for members, count in wanted]
        answer.append(np.sort(np.concatenate(rows)))
    return answer


def probe(
    labelled: Embedded,
    unlabelled: npt.NDArray[np.float32],
    choice: Embedded,
    test: Embedded,
    drawn: list[npt.NDArray[np.int64]],
    rate: float,
) -> Probed:
    """Fit a probe to each draw of labels and measure it on the test.

    Its form, one of `pipeline.evaluate.few_shot.heads.FORMS`, is the one whose median completeness over the
    draws is the largest on `choice`, then its AUROC; the test has no say.

    Parameters
    ----------
    labelled : Embedded
        That labels are drawn from.
    unlabelled : float32 (m, d)
    choice, test : Embedded
    drawn : list of int64 (number,)
        Rows of `labelled`.
    rate : float
        Of false positives, for the completeness.
    """
    best, form = (-1.0, -1.0), ""
    for name in FORMS:
        found = _measured(name, labelled, unlabelled, choice, drawn, rate)
        if (score := (float(np.median(found[0])), float(np.median(found[1])))) > best:
            best, form = score, name
    return Probed(form, *_measured(form, labelled, unlabelled, test, drawn, rate))


def _measured(
    form: str,
    labelled: Embedded,
    unlabelled: npt.NDArray[np.float32],
    on: Embedded,
    drawn: list[npt.NDArray[np.int64]],
    rate: float,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Completeness and AUROC, (draws,) each."""
    scorer = FORMS[form](unlabelled)
    figures = []
    for rows in drawn:
        scores = scorer(labelled.embedding[rows], labelled.lens[rows], on.embedding)
        figures.append((completeness_at_fpr(scores, on.lens, rate).value, auroc(scores, on.lens).value))
    completeness, area = np.array(figures).T
    return completeness, area
