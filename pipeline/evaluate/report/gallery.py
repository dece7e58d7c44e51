"""Stamps worth looking at: the top false alarms, the missed lenses, and some of each kind at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.colour import colour, fatal_outline, png
from pipeline.catalogue.stamps import Stamp
from pipeline.evaluate.config import EvaluationConfig
from pipeline.evaluate.figures import threshold_at
from pipeline.evaluate.scores import Scores
from pipeline.evaluate.tally import tally

Choice = Literal["false alarms", "missed", "predictions"]

_TOLD = ("kind", "name", "theta_E", "arc_snr", "snrmax_i", "image_sep", "mag_r", "lens_mag", "distance")
"""Columns of truth that a picture's caption has, where the sample has them."""


@dataclass(frozen=True)
class Picture:
    """One stamp of the report.

    Attributes
    ----------
    sample : str
    choice : str
        Why it is shown.
    row : int
        In the sample and in `scores.parquet`.
    lens : bool
    score : float
        The ensemble's probability at the survey's prior; NaN without one.
    odds : float
        Share of the sample's others that score at least as high.
    members : dict of str to float
        Each member's logit.
    truth : dict of str to str
    picture : bytes
        PNG.
    side_pix : int
    pixel_scale : float, arcsec
    outline : str
        SVG path of the fatally flagged pixels.
    """

    sample: str
    choice: Choice
    row: int
    lens: bool
    score: float
    odds: float
    members: dict[str, float]
    truth: dict[str, str]
    picture: bytes
    side_pix: int
    pixel_scale: float
    outline: str


def gallery(scores: Scores, members: tuple[str, ...], config: EvaluationConfig) -> list[Picture]:
    """The pictures of one sample.

    False alarms are the others of the highest score. Missed are lenses at or below the threshold of the breakdown,
    the plainest first where the sample says which those are, else the lowest score first; of stamps that show the same
    object only the first of each kind. Predictions are drawn at random, half lenses and half others.
    """
    chosen: list[tuple[Choice, npt.NDArray[np.int64]]] = [
        ("false alarms", _false_alarms(scores, config)),
        ("missed", _missed(scores, config)),
        ("predictions", _at_random(scores, config)),
    ]
    return [_picture(scores, choice, int(row), members, config) for choice, rows in chosen for row in rows]


def _ranked(scores: Scores) -> npt.NDArray[np.float64]:
    return np.where(np.isnan(scores.ensemble), -np.inf, scores.ensemble.astype(np.float64))


def _false_alarms(scores: Scores, config: EvaluationConfig) -> npt.NDArray[np.int64]:
    others = np.flatnonzero(~scores.sample.lens & np.isfinite(scores.ensemble))
    return _once(scores, others[np.argsort(-scores.ensemble[others], kind="stable")])[: config.gallery.stamps]


def _missed(scores: Scores, config: EvaluationConfig) -> npt.NDArray[np.int64]:
    ranked, sample = _ranked(scores), scores.sample
    threshold = threshold_at(tally(scores.ensemble, sample.lens), config.breakdown_rate)
    rows = np.flatnonzero(sample.lens & (ranked <= threshold))
    key = ranked[rows]
    if sample.clearest is not None:
        key = -np.nan_to_num(sample.truth[sample.clearest][rows].astype(np.float64), nan=-np.inf)
    return _once(scores, rows[np.argsort(key, kind="stable")])[: config.gallery.stamps]


def _once(scores: Scores, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The first row of each group, in the order of `rows`."""
    if scores.sample.group is None:
        return rows
    return rows[np.sort(np.unique(scores.sample.group[rows], return_index=True)[1])]


def _at_random(scores: Scores, config: EvaluationConfig) -> npt.NDArray[np.int64]:
    rng = np.random.default_rng(config.seed)
    half = config.gallery.stamps // 2
    parts = [np.flatnonzero(scores.sample.lens), np.flatnonzero(~scores.sample.lens)]
    return np.concatenate([rng.permutation(part)[:half] for part in parts])


def _picture(scores: Scores, choice: Choice, row: int, members: tuple[str, ...], config: EvaluationConfig) -> Picture:
    sample = scores.sample
    stamp = cropped(sample.stamp(row), config.gallery.size)
    ranked = _ranked(scores)
    others = ranked[~sample.lens]
    truth = {name: _text(sample.truth[name][row]) for name in _TOLD if name in sample.truth}
    return Picture(
        sample=sample.name,
        choice=choice,
        row=row,
        lens=bool(sample.lens[row]),
        score=float(scores.ensemble[row]),
        odds=float((others >= ranked[row]).mean()),
        members={name: float(scores.logits[row, index]) for index, name in enumerate(members)},
        truth={name: text for name, text in truth.items() if text},
        picture=png(colour(stamp)),
        side_pix=int(stamp.image.shape[-1]),
        pixel_scale=stamp.pixel_scale,
        outline=fatal_outline(stamp.mask),
    )


def cropped(stamp: Stamp, size: float) -> Stamp:
    """The middle of a stamp, `size` arcsec wide."""
    cut = max(0, (stamp.image.shape[-1] - round(size / stamp.pixel_scale)) // 2)
    middle = slice(cut, -cut or None)
    return Stamp(stamp.image[:, middle, middle], stamp.mask[:, middle, middle], stamp.bands, stamp.pixel_scale)


def _text(value: Any) -> str:
    if isinstance(value, np.floating):
        return f"{value:.3g}" if np.isfinite(value) else ""
    return str(value)
