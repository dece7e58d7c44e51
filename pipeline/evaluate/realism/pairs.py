"""The realism probe between samples: made lenses against real ones that are as bright and lack the same pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.config import EvaluationConfig
from pipeline.evaluate.figures import Figure
from pipeline.evaluate.realism.matching import matched
from pipeline.evaluate.realism.probe import Probe, control, embedded, on_grid, probe
from pipeline.evaluate.samples.sample import Part
from pipeline.evaluate.scores import Scores
from pipeline.models.ensemble import Ensemble
from pipeline.models.package import ModelPackage

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


def probes(scored: Sequence[Scores], ensemble: Ensemble, config: EvaluationConfig) -> tuple[list[Probe], str | None]:
    """Lenses of every made sample against those of every real one, by each member that has an embedding.

    A pair of samples is alike where both say that they are of the same survey's pixels; of another pair the probe may
    tell nothing but the surveys. Lenses are matched in magnitude first, and each is seen through its partner's missing
    pixels as well as its own, so that neither brightness nor padding tells.

    Returns
    -------
    list of Probe, str or None
        Why there is none.
    """
    real = [scores for scores in scored if scores.sample.column == "real"]
    made = [scores for scores in scored if scores.sample.column != "real"]
    if not real or not made:
        return [], f"no {'real' if not real else 'simulated or injected'} lenses were measured"
    members = [member for member in ensemble.members if hasattr(member.network, "embed")]
    if not members:
        return [], "no member's network has an embedding"
    return [_pair(first, second, member, config) for first in made for second in real for member in members], None


def _pair(first: Scores, second: Scores, member: ModelPackage, config: EvaluationConfig) -> Probe:
    rng = np.random.default_rng(config.seed)
    rows = matched(first.magnitudes, second.magnitudes, config.probe.caliper, rng)
    pixels = first.sample.pixels, second.sample.pixels
    about = (member.name, first.sample.name, second.sample.name, *pixels, bool(pixels[0]) and pixels[0] == pixels[1])
    if not len(rows[0]):
        told = f"no lenses of the two are within {config.probe.caliper:g} mag of one another"
        none = Figure("probe AUC", None, None, None, 0, 0, 0, 0, told)
        return Probe(*about, none, none)
    # The first pair of each real lens stands for it.
    once = np.sort(np.unique(rows[1], return_index=True)[1])
    groups = _groups(first)[rows[0]], _groups(second)[rows[1][once]]
    vectors = _embedded(first, second, rows, once, member)
    return Probe(
        *about,
        auc=probe(*vectors, groups, config.probe, replicates=config.replicates, seed=config.seed),
        control=control(vectors[0], groups[0], config.probe, seed=config.seed),
    )


def _embedded(
    first: Scores, second: Scores, rows: tuple[Int64, Int64], once: Int64, member: ModelPackage
) -> tuple[Float32, Float32]:
    """Embeddings of matched lenses, (pairs, d) and (once, d)."""
    mine, theirs = (
        on_grid(
            Part(one.stamps[chosen], None, None), member, bands=one.sample.bands, pixel_scale=one.sample.pixel_scale
        )
        for one, chosen in zip((first, second), rows, strict=True)
    )
    both = mine[1] & theirs[1]
    return embedded(mine[0], both, member), embedded(theirs[0][once], both[once], member)


def _groups(scores: Scores) -> npt.NDArray[Any]:
    """What belongs together among the probe's lenses: the sample's groups; else a source galaxy, where it is known.

    The object comes first, since most of a stamp's light is the deflector's, and one galaxy behind many deflectors
    would tie all of them into one group.
    """
    if scores.sample.group is not None:
        return scores.sample.group[scores.rows]
    alone = -1 - scores.rows
    source = scores.sample.truth.get("source_id")
    return alone if source is None else np.where(source[scores.rows] >= 0, source[scores.rows], alone)
