"""Curves of an evaluation of lens parameters: coverage, ranks, and how theta_E depends on the lens."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from pipeline.evaluate.parameters.config import ParametersConfig
from pipeline.evaluate.parameters.metrics import Calibrated
from pipeline.evaluate.parameters.result import Bin, OfPackage, OfSeparation
from pipeline.evaluate.report.chart import Axis, Series, chart
from pipeline.models.posterior import NAMES


def coverage_plots(found: Sequence[OfPackage], config: ParametersConfig) -> str:
    """Share of truths inside intervals against their level, a plot a parameter, a colour a package."""
    cut = config.cuts[0].name
    plots = ""
    for name in NAMES:
        series = []
        for style, package in enumerate(found):
            covered = package.figure(cut, name).coverage
            levels = [float(level) for level in covered]
            values, low, high = (
                [getattr(share, end) for share in covered.values()] for end in ("value", "low", "high")
            )
            series.append(Series(package.package, levels, values, low, high, style, dots=True))
        plots += chart(name, series, Axis("level", low=0, high=1), Axis("inside", low=0, high=1), diagonal=True)
    return f'<div class="plots">{plots}</div>'


def rank_plots(package: OfPackage) -> str:
    """Histograms of the truth's rank among samples, each beside what chance allows a flat one."""
    plots = "".join(_ranks(name, package.calibrated[name]) for name in NAMES)
    return f'<h3>{escape(package.package)}</h3><div class="plots">{plots}</div>'


def bin_plots(found: Sequence[OfPackage], config: ParametersConfig) -> str:
    """Bias, scatter and coverage of theta_E against columns of the truth."""
    plots = ""
    for item in config.bins:
        axis = Axis(item.column, log=item.log)
        bins = [(style, one.package, one.bins[item.column]) for style, one in enumerate(found)]
        for what, of, top in (("bias", 100.0, None), ("scatter", 100.0, None), ("coverage", 1.0, 1.0)):
            series = [_binned(name, mine, what, of, style) for style, name, mine in bins]
            label = "68 % coverage of theta_E" if what == "coverage" else f"{what} of theta_E (%)"
            plots += chart(label, series, axis, Axis(label, low=None if what == "bias" else 0.0, high=top))
    return f'<div class="plots">{plots}</div>' if plots else ""


def separation_plot(found: OfSeparation) -> str:
    """Twice theta_E against the separation of the images, trusted ones the strongest."""
    series = []
    for trusted, name, style in ((True, "trusted", 0), (False, "not trusted", 7)):
        points = [point for point in found.points if point[3] == trusted]
        columns = [list(column) for column in zip(*points, strict=True)] if points else [[], [], [], []]
        middle, std = np.array(columns[1]), np.array(columns[2])
        low, high = (middle - std).tolist(), (middle + std).tolist()
        series.append(Series(name, columns[0], columns[1], low, high, style=style, dots=True))
    title = f"{found.sample}, {found.package}"
    return chart(title, series, Axis("image separation (arcsec)"), Axis("2 theta_E (arcsec)"), diagonal=True)


def _ranks(name: str, found: Calibrated) -> str:
    counts = np.array(found.counts)
    edges = np.linspace(0, 1, len(counts) + 1)
    x = np.repeat(edges, 2)[1:-1].tolist()
    expected = counts.sum() / len(counts)
    noise = np.sqrt(expected * (1 - 1 / len(counts)))
    return chart(
        f"{name}: p = {found.p_value:.2g}",
        [
            Series("ranks", x, np.repeat(counts, 2).tolist(), style=0),
            Series("flat, ± 2 sigma", [0, 1], [expected - 2 * noise] * 2, style=7),
            Series("", [0, 1], [expected + 2 * noise] * 2, style=7),
        ],
        Axis("rank of the truth among samples", low=0, high=1),
        Axis("lenses", low=0),
    )


def _binned(name: str, bins: Sequence[Bin], what: str, of: float, style: int) -> Series:
    kept = [item for item in bins if item.n >= 5]
    figures = [getattr(item, what) for item in kept]
    return Series(
        name,
        [float(np.sqrt(item.low * item.high)) for item in kept],
        [of * figure.value for figure in figures],
        [of * figure.low for figure in figures],
        [of * figure.high for figure in figures],
        style=style,
        dots=True,
    )
