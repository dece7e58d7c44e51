"""Every stamp of an evaluation with its scores and truth, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.evaluate.baselines import BASELINES
from pipeline.evaluate.reuse import STAMP
from pipeline.evaluate.scores import Scores


def scores_table(scored: Sequence[Scores], members: Sequence[str]) -> pa.Table:
    """One row a stamp, samples one after the other, rows in the sample's order.

    Columns: `sample`, `row`, `label`; `stamp_hash` (int64), of what the members saw; `group` (int64), equal where
    stamps of a sample show the same sky; `score` and `score_<member>` (float32, probability at the survey's prior);
    `logit_<member>` (float32); `baseline_<name>` (float64); and `truth_<column>` of every sample's truth, null where a
    sample has none, text where some sample has text. A missing number is null, never NaN.
    """
    names = list(dict.fromkeys(name for scores in scored for name in scores.sample.truth))
    textual = {name for name in names if any(_is_text(scores, name) for scores in scored)}
    parts, groups = [], 0
    for scores in scored:
        n = len(scores.sample)
        columns: dict[str, pa.Array] = {
            "sample": pa.array([scores.sample.name] * n, pa.string()),
            "row": pa.array(np.arange(n), pa.int32()),
            "label": pa.array(scores.sample.lens),
            STAMP: pa.array(scores.hashes, pa.int64()),
            "group": pa.array(_groups(scores) + groups, pa.int64()),
            "score": _numbers(scores.ensemble, pa.float32()),
        }
        for index, member in enumerate(members):
            columns[f"score_{member}"] = _numbers(scores.members[:, index], pa.float32())
            columns[f"logit_{member}"] = _numbers(scores.logits[:, index], pa.float32())
        for index, name in enumerate(BASELINES):
            columns[f"baseline_{name.replace(' ', '_')}"] = _numbers(scores.baselines[:, index], pa.float64())
        for name in names:
            columns[f"truth_{name}"] = _truth(scores, name, name in textual)
        parts.append(pa.table(columns))
        groups += n
    return pa.concat_tables(parts, promote_options="permissive").combine_chunks()


def _groups(scores: Scores) -> npt.NDArray[np.int64]:
    group = scores.sample.group
    return np.arange(len(scores.sample)) if group is None else np.unique(group, return_inverse=True)[1]


def _is_text(scores: Scores, name: str) -> bool:
    return name in scores.sample.truth and scores.sample.truth[name].dtype.kind in "US"


def _truth(scores: Scores, name: str, textual: bool) -> pa.Array:
    values = scores.sample.truth.get(name)
    if values is None:
        return pa.nulls(len(scores.sample), pa.string() if textual else pa.null())
    if textual:
        return pa.array([str(value) or None for value in values.tolist()], pa.string())
    return pa.array(values, from_pandas=True)


def _numbers(values: npt.NDArray[Any], kind: pa.DataType) -> pa.Array:
    return pa.array(values, kind, from_pandas=True)
