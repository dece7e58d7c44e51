"""Calibrations of members that stand beside the rule: each fitted by itself, and kept as it is where it can't be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.models.calibration import Calibration
from pipeline.models.ensemble import Ensemble


def with_beside(
    fitted: Ensemble, whole: Ensemble, fit: Callable[..., Calibration], *logits: npt.NDArray[Any]
) -> Ensemble:
    """A fitted rule with the members that stand beside it put back in their places.

    A network that looks for something else, such as what is rare of any kind, may rank lenses backwards or have seen
    too few of them. It is none of the rule, so that is no reason to refuse the fit: it keeps the calibration it had.

    Parameters
    ----------
    fitted : Ensemble
        What was fitted, of the members of the rule alone.
    whole : Ensemble
        With all members.
    fit : callable (member, logits of it)
        The calibration of one member; raises ConfigError where there is none.
    logits : (n, members)
        Of all members of `whole`; of several samples, `fit` is given the column of each.

    Returns
    -------
    Ensemble
        Members, order and weights of `whole`, the rest of `fitted`.
    """
    ruled = iter(fitted.members)
    members = []
    for column, member in enumerate(whole.members):
        if column in whole.ruling:
            members.append(next(ruled))
            continue
        try:
            calibration = fit(member, *(part[:, column] for part in logits))
        except ConfigError:
            calibration = member.calibration
        members.append(replace(member, calibration=calibration))
    return replace(fitted, members=tuple(members), weights=whole.weights)
