"""Curves of a comparison of anomaly detectors: thresholds, ROC, latent dimensions, latent space."""

from __future__ import annotations

import numpy as np

from pipeline.evaluate.anomalies.result import AnomalyEvaluation, LatentResult, SampleResult
from pipeline.evaluate.report.chart import Axis, Series, chart
from pipeline.evaluate.report.plots import STYLES

_GREY = STYLES - 1
_APART = 0.15
"""Between the marks of normals and of anomalies, in dimensions."""


def roc_plot(evaluation: AnomalyEvaluation, sample: SampleResult) -> str:
    """True against false positives of the networks on one sample, of the baselines in grey."""
    series = []
    for index, scorer in enumerate(scorer for scorer in evaluation.scorers if scorer.kind != "dimensions"):
        curve = scorer.samples[sample.name].curve
        series.append(
            Series(
                scorer.name,
                curve.false_positive_rate.tolist(),
                curve.true_positive_rate.tolist(),
                style=_GREY if scorer.kind == "baseline" else index % _GREY,
            )
        )
    floor = 0.5 / max(sample.n_others, 1)
    return chart(
        sample.name,
        series,
        Axis("false-positive rate", log=True, low=floor, high=1.0),
        Axis("true-positive rate", low=0.0, high=1.0),
    )


def threshold_plots(evaluation: AnomalyEvaluation) -> str:
    """Precision, recall and F1 against the threshold by network, for each share of anomalies; other scores folded."""
    shown, folded = "", ""
    for scorer in evaluation.scorers:
        plots = "".join(
            chart(
                f"{scorer.name}, {study.share:g} anomalies: best above {study.best:.3g}",
                [
                    Series(name, study.threshold.tolist(), values.tolist(), style=style)
                    for style, name, values in (
                        (1, "precision", study.precision),
                        (2, "recall", study.recall),
                        (0, "F1", study.f1),
                    )
                ],
                Axis("threshold"),
                Axis("", low=0.0, high=1.0),
            )
            for study in scorer.studies
        )
        if scorer.kind == "network":
            shown += plots
        else:
            folded += plots
    rest = (
        f'<details><summary>chosen dimensions and baselines</summary><div class="plots">{folded}</div></details>'
        if folded
        else ""
    )
    return f'<div class="plots">{shown}</div>{rest}' if shown or folded else ""


def dimension_plots(latent: LatentResult) -> str:
    """Chi-squared of every dimension, and how the divergences of normals and of anomalies are distributed in it."""
    number = np.arange(len(latent.dimensions.chi_squared))
    chi_squared = chart(
        "Chi-squared over its degrees of freedom",
        [
            Series("dimension", number.tolist(), latent.dimensions.chi_squared.tolist(), dots=True),
            Series("limit", [0.0, float(number[-1])], [latent.dimensions.limit] * 2, style=4),
        ],
        Axis("latent dimension"),
        Axis("chi-squared", log=True),
    )
    spread = [
        Series(
            name,
            (number + shift).tolist(),
            quantiles[:, 1].tolist(),
            quantiles[:, 0].tolist(),
            quantiles[:, 2].tolist(),
            style=style,
            dots=True,
        )
        for name, quantiles, shift, style in (
            ("normals", latent.normal, -_APART, 2),
            ("anomalies", latent.unusual, _APART, 4),
        )
    ]
    divergence = chart(
        "Divergence from the prior, median and 68 %",
        spread,
        Axis("latent dimension"),
        Axis("divergence (nats)"),
    )
    return chi_squared + divergence


def latent_plot(latent: LatentResult) -> str:
    """Latent means in the two dimensions of the largest chi-squared, by class."""
    styles = dict(zip(latent.places, (7, 2, 4, 0), strict=False))
    series = [
        Series(name, places[:, 0].tolist(), places[:, 1].tolist(), style=styles[name], dots=True)
        for name, places in latent.places.items()
    ]
    return chart(
        f"Latent means of {latent.package}",
        series[::-1],
        Axis(f"dimension {latent.axes[0]}"),
        Axis(f"dimension {latent.axes[1]}"),
    )
