"""Fitting the criterion that joins an ensemble's score with the lens-light map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.evaluate.calibration.fit import FEWEST
from pipeline.evaluate.logistic import class_weights, logistic_regression
from pipeline.models.calibration import logit
from pipeline.models.ensemble import Ensemble
from pipeline.models.mapper import Joint
from pipeline.scan.maps import LensLight


def with_joint(
    ensemble: Ensemble, logits: npt.NDArray[Any], light: LensLight, lens: npt.NDArray[Any], fitted_on: str, prior: float
) -> Ensemble:
    """The ensemble with a joint criterion fitted to its own score; as it is where it draws no maps.

    Parameters
    ----------
    ensemble : Ensemble
        Calibrated.
    logits : (n, members)
        Rows with a NaN, here or in `light`, are left out.
    light : LensLight
        Of the same stamps.
    lens : bool (n,)
    fitted_on : str
        What the sample was.
    prior : float in (0, 1)
        Lenses and others are weighted to it.

    Raises
    ------
    ConfigError
        With fewer than ten of either class.
    """
    if ensemble.mapper is None:
        return ensemble
    features = np.column_stack([ensemble.evidence(logits, prior), light.features()])
    known = np.isfinite(features).all(axis=1)
    truth = np.asarray(lens, bool)[known]
    counts = int(truth.sum()), int((~truth).sum())
    if min(counts) < FEWEST:
        raise ConfigError(
            f"{fitted_on}: {counts[0]} lenses and {counts[1]} others have maps; a joint "
            f"criterion needs {FEWEST} of each."
        )
    design = np.column_stack([features[known], np.ones(int(known.sum()))])
    *slopes, intercept = logistic_regression(design, truth.astype(np.float64), class_weights(truth, prior)).tolist()
    joint = Joint(
        intercept=intercept - logit(prior),
        score=slopes[0],
        light=slopes[1],
        sides=slopes[2],
        off_centre=slopes[3],
        prior=prior,
        n_lenses=counts[0],
        n_others=counts[1],
        fitted_on=fitted_on,
    )
    return replace(ensemble, mapper=replace(ensemble.mapper, joint=joint))
