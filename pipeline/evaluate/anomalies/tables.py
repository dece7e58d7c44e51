"""Every stamp of a comparison with its scores, as one table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pipeline.evaluate.anomalies.scores import Scored


def scores_table(scored: Sequence[Scored]) -> pa.Table:
    """One row a stamp, samples one after the other: `sample`, `row`, `label`, `what` and `score_<scorer>`.

    `what` is a stamp's kind, or the name of its file. A missing score is null, never NaN.
    """
    parts = []
    for item in scored:
        truth = item.sample.truth
        what = next((truth[name] for name in ("kind", "name") if name in truth), np.full(len(item.sample), ""))
        columns: dict[str, pa.Array] = {
            "sample": pa.array([item.sample.name] * len(item.sample), pa.string()),
            "row": pa.array(np.arange(len(item.sample)), pa.int32()),
            "label": pa.array(item.sample.lens),
            "what": pa.array([str(value) for value in what.tolist()], pa.string()),
        }
        for name, values in item.columns.items():
            columns[f"score_{name.replace(' ', '_')}"] = pa.array(values, pa.float64(), from_pandas=True)
        parts.append(pa.table(columns))
    return pa.concat_tables(parts)
