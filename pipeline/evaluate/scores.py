"""A sample put through an ensemble, a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import ModelMismatch
from pipeline.evaluate.baselines import BASELINES, baselines
from pipeline.evaluate.config import EvaluationConfig
from pipeline.evaluate.reuse import KnownLogits, member_identities, stamp_hashes
from pipeline.evaluate.samples.sample import Part, Sample
from pipeline.models.ensemble import Ensemble
from pipeline.scan.score import score_cutouts
from pipeline.scan_config import ScoreConfig

Float32 = npt.NDArray[np.float32]
Report = Callable[[str], None]


@dataclass(frozen=True)
class Scores:
    """A sample's scores.

    Attributes
    ----------
    sample : Sample
    hashes : int64 (n,)
        Of what the members saw of each stamp.
    logits : float32 (n, members); NaN where not scorable
    members, ensemble : float32 (n, members), (n,)
        Probabilities at the survey's prior.
    at_threshold : float32 (n, 1 + members)
        Probabilities at the prior of the threshold, the ensemble's first.
    baselines : float64 (n, 3)
    rows : int64 (k,)
        Lenses that the probe may take, at most as many as its config says.
    stamps : float32 (k, band, y, x), nJy
        Of these; NaN also where masked.
    """

    sample: Sample
    hashes: npt.NDArray[np.int64]
    logits: Float32
    members: Float32
    ensemble: Float32
    at_threshold: Float32
    baselines: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int64]
    stamps: Float32

    @property
    def magnitudes(self) -> npt.NDArray[np.float64]:
        """AB magnitudes (k,) of `rows` in the aperture of the baselines; NaN where there is none."""
        answer: npt.NDArray[np.float64] = -self.baselines[self.rows, BASELINES.index("brightness")]
        return answer


def score_sample(
    sample: Sample,
    ensemble: Ensemble,
    config: EvaluationConfig,
    report: Report | None = None,
    known: KnownLogits | None = None,
) -> Scores:
    """Put a sample through the ensemble, a part at a time; what is known is not scored again.

    Raises
    ------
    ModelMismatch
        If the sample lacks a band that a member needs, or its pixels or stamps don't do.
    """
    logits = np.full((len(sample), len(ensemble.members)), np.nan, dtype=np.float32)
    hashes, identities = np.zeros(len(sample), np.int64), member_identities(ensemble)
    simple = np.full((len(sample), len(BASELINES)), np.nan)
    lenses = np.flatnonzero(sample.lens)
    rng = np.random.default_rng(config.seed)
    rows = np.sort(rng.choice(lenses, min(config.probe.limit, len(lenses)), replace=False))
    kept: list[Float32] = []
    start, taken = 0, 0
    for part in sample.parts():
        stop = start + len(part.image)
        _check(sample, ensemble, part)
        hashes[start:stop] = stamp_hashes(sample, part)
        found = {} if known is None else known.of(sample.name, start, hashes[start:stop], identities)
        logits[start:stop] = _logits(sample, part, ensemble, config, found)
        taken += len(found) * len(part.image)
        simple[start:stop] = baselines(part.image, sample.bands, sample.pixel_scale, config.baselines)
        chosen = rows[(rows >= start) & (rows < stop)] - start
        kept.append(np.where(part.known[chosen], part.image[chosen], np.float32(np.nan)))
        if report is not None and (stop // _TOLD > start // _TOLD or stop == len(sample)):
            report(f"{sample.name}: {stop:,}/{len(sample):,} stamps scored")
        start = stop
    if report is not None and known is not None:
        report(f"{sample.name}: {taken:,} of {logits.size:,} logits taken over")
    scores = ensemble.score(logits, config.prior)
    even = ensemble.score(logits, config.threshold_prior)
    return Scores(
        sample=sample,
        hashes=hashes,
        logits=logits,
        members=scores.members,
        ensemble=scores.score,
        at_threshold=np.column_stack([even.score, even.members]),
        baselines=simple,
        rows=rows,
        stamps=np.concatenate(kept),
    )


_TOLD = 2000
"""Stamps after which progress is told again."""


def _logits(
    sample: Sample, part: Part, ensemble: Ensemble, config: EvaluationConfig, known: Mapping[str, Float32]
) -> Float32:
    """Logits (n, members) of a part: the members whose are not known are asked."""
    asked = tuple(member for member in ensemble.members if member.name not in known)
    columns = dict(known)
    if asked:
        found = score_cutouts(
            part.image,
            part.ivar,
            part.mask,
            pixel_scale=sample.pixel_scale,
            bands=sample.bands,
            ensemble=Ensemble("asked", asked, (1.0,) * len(asked), "mean_log_odds", views=ensemble.views),
            config=ScoreConfig(batch=config.batch),
        )
        columns |= {member.name: found[:, index] for index, member in enumerate(asked)}
    return np.column_stack([columns[member.name] for member in ensemble.members])


def _check(sample: Sample, ensemble: Ensemble, part: Part) -> None:
    try:
        ensemble.check(sample.bands, pixel_scale=sample.pixel_scale, size_pix=min(part.image.shape[-2:]))
    except ModelMismatch as error:
        raise ModelMismatch(f"sample {sample.name!r}: {error}") from error
