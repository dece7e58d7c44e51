"""Lenses that people found, held against what the scores of the same detections promise."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.catalogue.proportion import share
from pipeline.catalogue.query import query
from pipeline.catalogue.report_facts import ObservedRow
from pipeline.io.places import Place
from pipeline.io.products import live_files

EDGES = (0.0, 1e-4, 1e-3, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Ranges of score that are held apart."""

_AT_ONCE = 500


@dataclass(frozen=True)
class Judged:
    """Detections by (field_id, objid), each with whether it was found to be a lens, and who says so."""

    lens: Mapping[tuple[str, int], bool]
    by: str


def observed_rows(output: Place, judged: Judged) -> tuple[ObservedRow, ...]:
    """Judged primary detections by score: lenses among them, and the sum of their scores; ranges without any left out.

    Parameters
    ----------
    output : Path or ObjectPath
        A scan's output folder.
    judged : Judged
        Detections that the scan does not have, or has no score of, are left out.

    Raises
    ------
    QueryError
        If the scan has no scores.
    """
    by_field: dict[str, list[int]] = defaultdict(list)
    for field_id, objid in judged.lens:
        by_field[field_id].append(objid)
    known = {str(field_id) for field_id in _fields(output)}
    scores, lenses = [], []
    for field_id in sorted(set(by_field) & known):
        ids = sorted(by_field[field_id])
        for first in range(0, len(ids), _AT_ONCE):
            wanted = ", ".join(str(int(objid)) for objid in ids[first : first + _AT_ONCE])
            rows = query(
                output, f"objid IN ({wanted})", field=field_id, primary=True, all=True, columns=["objid", "score"]
            )
            for objid, score in zip(rows["objid"].to_pylist(), rows["score"].to_pylist(), strict=True):
                if score is not None:
                    scores.append(score)
                    lenses.append(judged.lens[(field_id, objid)])
    return _by_score(np.array(scores, np.float64), np.array(lenses, bool))


def _fields(output: Place) -> list[str]:
    return list(live_files(output, "candidates", "scores.parquet"))


def _by_score(scores: npt.NDArray[np.float64], lenses: npt.NDArray[np.bool_]) -> tuple[ObservedRow, ...]:
    rows = []
    at = np.clip(np.searchsorted(EDGES, scores, side="right") - 1, 0, len(EDGES) - 2)
    for place in range(len(EDGES) - 1):
        here = at == place
        judged, found = int(here.sum()), int(lenses[here].sum())
        if judged:
            expected = float(scores[here].sum())
            rows.append(ObservedRow(EDGES[place], EDGES[place + 1], judged, found, expected, share(found, judged)))
    return tuple(rows)
