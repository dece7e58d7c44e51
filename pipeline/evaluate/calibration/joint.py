"""Fitting the criterion that joins an ensemble's score with the lens-light map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.logistic import class_weights, logistic_regression
from pipeline.models.calibration import logit
from pipeline.models.ensemble import Ensemble
from pipeline.models.mapper_config import Joint
from pipeline.scan.maps import LensLight

FEWEST_MAPPED = 200
"""Stamps of either class without which no joint criterion is fitted: it has five parameters."""


def without_joint(ensemble: Ensemble) -> Ensemble:
    """The ensemble without its joint criterion, which belongs to the score that it was fitted to."""
    if ensemble.mapper is None:
        return ensemble
    return replace(ensemble, mapper=replace(ensemble.mapper, joint=None))


def with_joint(
    ensemble: Ensemble, logits: npt.NDArray[Any], light: LensLight, lens: npt.NDArray[Any], fitted_on: str, prior: float
) -> Ensemble:
    """The ensemble with a joint criterion fitted to its own score; as it is where it draws no maps.

    Without a criterion where fewer than `FEWEST_MAPPED` of either class have maps.

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
    """
    if ensemble.mapper is None:
        return ensemble
    features = np.column_stack([ensemble.evidence(logits, prior), light.features()])
    known = np.isfinite(features).all(axis=1)
    truth = np.asarray(lens, bool)[known]
    counts = int(truth.sum()), int((~truth).sum())
    if min(counts) < FEWEST_MAPPED:
        return without_joint(ensemble)
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
