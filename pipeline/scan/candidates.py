"""Which rows of a field's scores become candidates."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.scan_config import CandidatesConfig


def choose_candidates(
    score: npt.NDArray[np.floating], objid: npt.NDArray[np.int64], config: CandidatesConfig
) -> npt.NDArray[np.bool_]:
    """Rows whose ensemble score passes the floor, at most a fraction of all rows of the field.

    Primary and other rows are treated alike, so that a field's candidates depend on the field alone; vet
    flags play no part, because rows are flagged, never dropped.

    Parameters
    ----------
    score : float (n,)
        Ensemble score in [0, 1]; NaN where not scorable, which is never a candidate.
    objid : int64 (n,)
        Decides between equal scores at the cut: the lower id is kept.
    config : CandidatesConfig
        A candidate has `score >= floor`; if more than `max_fraction` of the n rows do, the highest
        floor(max_fraction * n) are kept, but at least one.

    Returns
    -------
    bool (n,)
        In the order given.
    """
    values = np.asarray(score, np.float64)
    passing = np.flatnonzero(np.isfinite(values) & (values >= config.floor))
    most = max(1, int(np.floor(config.max_fraction * len(values) + 1e-9)))
    order = np.lexsort((np.asarray(objid)[passing], -values[passing]))
    chosen = np.zeros(len(values), bool)
    chosen[passing[order[:most]]] = True
    return chosen
