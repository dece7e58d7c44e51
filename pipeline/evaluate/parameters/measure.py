"""Measuring posteriors of lens parameters: where the truth is known, on real lenses, and on what is no lens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.evaluate.metrics import Estimate, share
from pipeline.evaluate.parameters.answers import Answers, Asked
from pipeline.evaluate.parameters.config import BinsConfig, CutConfig, ParametersConfig
from pipeline.evaluate.parameters.metrics import calibrated, coverage, residuals, sharpness
from pipeline.evaluate.parameters.result import (
    Bin,
    Guarded,
    OfPackage,
    OfParameter,
    OfSeparation,
    ParametersEvaluation,
)
from pipeline.models.package import ModelPackage
from pipeline.models.posterior import NAMES, PARAMETERS

Bool = npt.NDArray[np.bool_]

RATIO = "theta_E_over_seeing"
SEPARATION = "image_sep"
"""Columns: one that is made here of the effective Einstein radius, and one of real lenses' labels."""

_WIDTH = 0.95
"""Level of the intervals that a separation is looked for in."""


def measure(
    config: ParametersConfig,
    packages: Sequence[ModelPackage],
    asked: Sequence[Asked],
    *,
    not_measured: Mapping[str, str],
    version: str,
) -> ParametersEvaluation:
    """Everything that the configuration asks for.

    Raises
    ------
    ConfigError
        If a cut or a bin names a column that a sample lacks, or the first cut holds no lens.
    """
    known = tuple(
        _of_package(one, answers, config) for one in asked if np.isfinite(one.truth).any() for answers in one.answers
    )
    separations = tuple(
        _of_separation(one, answers, config)
        for one in asked
        if SEPARATION in one.sample.truth
        for answers in one.answers
    )
    return ParametersEvaluation(
        name=config.name,
        description=config.description,
        packages={package.name: package.weights_sha256 for package in packages},
        config=config.model_dump(mode="json"),
        version=version,
        known=known,
        separations=separations,
        guard=tuple(item for one in asked for item in _guarded(one, config)),
        not_measured=dict(not_measured),
    )


def chosen_by(cut: CutConfig, asked: Asked) -> Bool:
    """The lenses (n,) of known parameters that a cut leaves; raises ConfigError for a column that is not there."""
    chosen: Bool = np.asarray(np.isfinite(asked.truth).all(1))
    for conditions, sign in ((cut.above, 1), (cut.below, -1)):
        for name, limit in conditions.items():
            with np.errstate(invalid="ignore"):
                np.logical_and(chosen, sign * (column_of(asked, name) - limit) > 0, out=chosen)
    return chosen


def column_of(asked: Asked, name: str) -> npt.NDArray[Any]:
    """A parameter, the Einstein radius over the seeing, or a column of the truth, float64 (n,)."""
    truth = asked.sample.truth
    if name in NAMES:
        return asked.truth[:, NAMES.index(name)].astype(np.float64)
    if name == RATIO:
        return np.asarray(asked.truth[:, 0].astype(np.float64) / truth["seeing"])
    if name not in truth:
        raise ConfigError(
            f"sample {asked.sample.name!r}: no column {name}; it has {RATIO}, {', '.join(sorted(truth))}."
        )
    return np.asarray(truth[name], np.float64)


def _of_package(asked: Asked, answers: Answers, config: ParametersConfig) -> OfPackage:
    figures: list[OfParameter] = []
    for cut in config.cuts:
        rows = chosen_by(cut, asked)
        figures += [_of_parameter(asked, answers, rows, cut.name, place, config) for place in range(len(PARAMETERS))]
    first = chosen_by(config.cuts[0], asked)
    if not first.any():
        raise ConfigError(f"sample {asked.sample.name!r}: no lens is left by cut {config.cuts[0].name!r}; widen it.")
    ranks = {
        parameter.name: calibrated(answers.samples[first, :, place], asked.truth[first, place], config.rank_bins)
        for place, parameter in enumerate(PARAMETERS)
    }
    return OfPackage(
        package=answers.package,
        sample=asked.sample.name,
        log_posterior=_mean(answers.log_posterior[np.isfinite(asked.truth).all(1)]),
        figures=tuple(figures),
        calibrated=ranks,
        bins={item.column: tuple(_bins(asked, answers, first, item)) for item in config.bins},
    )


def _of_parameter(
    asked: Asked, answers: Answers, rows: Bool, cut: str, place: int, config: ParametersConfig
) -> OfParameter:
    samples, truth = answers.samples[rows, :, place].astype(np.float64), asked.truth[rows, place].astype(np.float64)
    relative = place == 0
    found = residuals(samples.mean(1), truth, relative=relative)
    narrow = sharpness(samples / truth[:, None] if relative else samples)
    return OfParameter(
        cut=cut,
        parameter=PARAMETERS[place].name,
        unit="%" if relative else PARAMETERS[place].unit,
        n=found.n,
        bias=found.bias,
        scatter=found.scatter,
        coverage={f"{level:g}": coverage(samples, truth, level) for level in config.levels},
        sharpness=narrow,
    )


def _bins(asked: Asked, answers: Answers, rows: Bool, config: BinsConfig) -> list[Bin]:
    values = column_of(asked, config.column)
    bins = []
    for low, high in zip(config.edges[:-1], config.edges[1:], strict=True):
        inside = rows & (values >= low) & (values < high)
        samples, truth = answers.samples[inside, :, 0].astype(np.float64), asked.truth[inside, 0].astype(np.float64)
        found = residuals(samples.mean(1), truth, relative=True)
        covered = coverage(samples, truth, 0.68) if found.n else share(0, 0)
        narrow = sharpness(samples / truth[:, None])
        bins.append(Bin(low, high, found.n, found.bias, found.scatter, covered, narrow))
    return bins


def _of_separation(asked: Asked, answers: Answers, config: ParametersConfig) -> OfSeparation:
    """Two images that lie on either side of a lens are about two Einstein radii apart, whatever its shape."""
    separation = np.asarray(asked.sample.truth[SEPARATION], np.float64)
    rows = asked.sample.lens & (separation > 0)
    twice = 2 * answers.samples[rows, :, 0].astype(np.float64)
    measured, trusted = separation[rows], answers.trusted(config)[rows]
    found = residuals(twice[trusted].mean(1) / measured[trusted], np.ones(int(trusted.sum())))
    low, high = np.quantile(twice[trusted], [0.5 - _WIDTH / 2, 0.5 + _WIDTH / 2], axis=1)
    inside = (measured[trusted] >= low) & (measured[trusted] <= high)
    columns = zip(measured, twice.mean(1), twice.std(1), trusted, strict=True)
    return OfSeparation(
        package=answers.package,
        sample=asked.sample.name,
        n=len(measured),
        trusted=found.n,
        ratio=Estimate(*(1 + end for end in (found.bias.value, found.bias.low, found.bias.high))),
        scatter=found.scatter,
        inside=share(int(inside.sum()), found.n),
        points=tuple((float(a), float(b), float(c), bool(d)) for a, b, c, d in columns),
    )


def _guarded(asked: Asked, config: ParametersConfig) -> list[Guarded]:
    """Lenses and others of a sample, simulated others by kind, and what artefacts cover."""
    lens, truth = asked.sample.lens, asked.sample.truth
    covered = asked.covered > config.covered_share
    groups: list[tuple[str, Bool]] = [("lenses", lens & ~covered), ("others", ~lens & ~covered)]
    if covered.any():
        groups.append(("lenses covered by artefacts", lens & covered))
    if "kind" in truth:
        kinds = truth["kind"].astype(str)
        groups += [(str(kind), ~lens & ~covered & (kinds == kind)) for kind in np.unique(kinds[~lens])]
    found = []
    for answers in asked.answers:
        trusted = answers.trusted(config)
        for name, rows in groups:
            what = f"{name}, {asked.sample.name}"
            found.append(Guarded(answers.package, what, int(rows.sum()), share(int(trusted[rows].sum()), rows.sum())))
    return found


def _mean(values: npt.NDArray[np.float32]) -> Estimate:
    mean, error = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64) / np.sqrt(len(values)))
    return Estimate(mean, mean - error, mean + error)
