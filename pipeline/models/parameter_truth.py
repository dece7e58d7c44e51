"""The parameters of simulated lenses, as a posterior is of them, from what a simulation tells of its masses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

TRUTH_COLUMNS = (
    "theta_E",
    "e1",
    "e2",
    "shear_1",
    "shear_2",
    "convergence",
    "slope",
    "source_x",
    "source_y",
    "lens_x",
    "lens_y",
    "magnified",
)
"""Columns of a pool's truth, see `pipeline.sims.truth.Truth`."""

_MOST_CONVERGENCE = 0.7
"""Beyond, what is about a deflector is the lens, and no number describes it to first order."""


def parameters_of(columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """Parameters of lenses as `pipeline.models.posterior.PARAMETERS` has them.

    Of a mass under a sheet of convergence kappa: theta_E (1 - kappa)^(-1 / (slope - 1)), which is where the mean
    convergence of a power law and the sheet is one, and shear and source over 1 - kappa (Schneider & Sluse 2013, A&A
    559, A37, eqs. 1 to 4). Angles are those that the stamp shows.

    Parameters
    ----------
    columns : mapping
        `TRUTH_COLUMNS`, each (n,).

    Returns
    -------
    float32 (n, p)
        NaN where there is no lens, or so much convergence that these numbers don't describe it.
    """
    known = {name: np.asarray(columns[name], np.float64) for name in TRUTH_COLUMNS}
    left = np.where(known["convergence"] < _MOST_CONVERGENCE, 1 - known["convergence"], np.nan)
    seen = known["magnified"]
    listed = [
        known["theta_E"] * left ** (-1 / (known["slope"] - 1)) * seen,
        known["e1"],
        known["e2"],
        known["shear_1"] / left,
        known["shear_2"] / left,
        known["source_x"] / left * seen,
        known["source_y"] / left * seen,
        known["lens_x"] * seen,
        known["lens_y"] * seen,
    ]
    table = np.stack(listed, axis=1)
    return np.where(np.isfinite(table).all(1, keepdims=True), table, np.nan).astype(np.float32)
