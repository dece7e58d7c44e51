"""The HTML of an evaluation of lens parameters: one file, everything escaped, nothing loaded from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from pipeline.catalogue.report_html import fixed, section, table
from pipeline.evaluate.metrics import Estimate
from pipeline.evaluate.parameters.config import ParametersConfig
from pipeline.evaluate.parameters.pictures import Drawn
from pipeline.evaluate.parameters.plots import bin_plots, coverage_plots, rank_plots, separation_plot
from pipeline.evaluate.parameters.result import OfPackage, OfParameter, OfSeparation, ParametersEvaluation

_STYLE = """
.stamps { display: grid; gap: 8px; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.stamps figure { position: relative; } .stamps img { width: 100%; image-rendering: pixelated; display: block; }
.stamps svg { position: absolute; top: 0; left: 0; width: 100%; }
.stamps .band { fill: none; stroke: #fff; stroke-opacity: 0.55; }
.stamps .truth { fill: none; stroke: #4cc9f0; stroke-width: 0.4; stroke-dasharray: 1.4 1; }
.stamps figcaption { font-weight: 400; font-size: 11px; }
"""


def page(evaluation: ParametersEvaluation, config: ParametersConfig, pictures: Sequence[Drawn]) -> str:
    """The whole document."""
    style = "".join(
        files(place).joinpath("report.css").read_text(encoding="utf-8")
        for place in ("pipeline.catalogue", "pipeline.evaluate.report")
    )
    known = evaluation.known
    body = [
        f"<header><p>{escape(evaluation.description)}</p><h1>Lens parameters: {escape(evaluation.name)}</h1></header>",
        section("Not measured", _missing(evaluation), kind="warning"),
        section("Einstein radius", _radius(known), intro="Bias, scatter and sharpness relative to the truth."),
        *(section(f"Every parameter, {escape(cut.name)}", _parameters(known, cut.name)) for cut in config.cuts[:1]),
        section("Coverage", coverage_plots(known, config) if known else "", intro=_of_first(config)),
        section("Ranks", "".join(map(rank_plots, known)), intro=_about_ranks(config)),
        section("What the Einstein radius depends on", bin_plots(known, config), intro=_of_first(config)),
        section("Real lenses", _separations(evaluation.separations), intro=_ABOUT_SEPARATIONS),
        section("What is trusted", _guard(evaluation), intro=_about_guard(config)),
        *(
            section(f"Posteriors on {escape(sample)}", _stamps([item for item in pictures if item.sample == sample]))
            for sample in dict.fromkeys(item.sample for item in pictures)
        ),
        section("Provenance", _provenance(evaluation)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(evaluation.name)} – lens parameters</title><style>{style}{_STYLE}</style></head>\n"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


_ABOUT_SEPARATIONS = (
    "Twice the Einstein radius against the separation of the images in the literature. They are equal for two images "
    "on either side of a round lens; shear and an offset source move the separation by some per cent, and a separation "
    "to the nearest tenth of an arcsecond by as much again."
)


def _of_first(config: ParametersConfig) -> str:
    return f"Lenses with {escape(config.cuts[0].name)}."


def _about_ranks(config: ParametersConfig) -> str:
    return (
        f"{_of_first(config)} A calibrated posterior's samples stand below the truth as often as above it, and the "
        "histogram is flat; a valley in the middle is a posterior that is too narrow, a hill one that is too wide. "
        "p: chance of so uneven a histogram (chi-square)."
    )


def _about_guard(config: ParametersConfig) -> str:
    return (
        f"Posteriors of stamps that are lenses to the network itself (above {config.least_lens:g}), that no more than "
        f"{config.unfamiliar_share:.1%} of familiar lenses lie nearer to what it knows than, and whose samples lie "
        f"beyond its training for {config.beyond_share:.0%} at most. Artefacts cover a stamp where they touch more "
        f"than {config.covered_share:.0%} of it."
    )


def _missing(evaluation: ParametersEvaluation) -> str:
    items = "".join(
        f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in evaluation.not_measured.items()
    )
    return f"<ul>{items}</ul>" if items else ""


def _radius(known: Sequence[OfPackage]) -> str:
    """A row a package and cut."""
    rows = []
    for one in known:
        of_theta = [item for item in one.figures if item.parameter == "theta_E"]
        rows += [[f"{escape(one.package)}<br><small>{escape(item.cut)}</small>", *_cells(item)] for item in of_theta]
    likely = "".join(
        f"<p>{escape(one.package)}: mean log posterior of the truth {_value(one.log_posterior, 1, 2)} on "
        f"{escape(one.sample)}.</p>"
        for one in known
    )
    return (table(_head(known), rows, label="Einstein radius by cut", kind="figures") + likely) if known else ""


def _parameters(known: Sequence[OfPackage], cut: str) -> str:
    """A row a parameter and package."""
    rows = []
    for place in range(len(known[0].figures)) if known else ():
        for one in known:
            item = one.figures[place]
            if item.cut == cut:
                unit = f" ({escape(item.unit)})" if item.unit else ""
                rows.append([f"{escape(item.parameter)}{unit}<br><small>{escape(one.package)}</small>", *_cells(item)])
    return table(_head(known), rows, label="every parameter", kind="figures") if rows else ""


def _head(known: Sequence[OfPackage]) -> list[str]:
    levels = known[0].figures[0].coverage
    return ["", "lenses", "bias", "scatter", *(f"{float(level):.0%} covers" for level in levels), "half width"]


def _cells(item: OfParameter) -> list[str]:
    of, digits = (100.0, 2) if item.unit == "%" else (1.0, 4)
    return [
        f"{item.n:,}",
        _value(item.bias, of, digits),
        _value(item.scatter, of, digits),
        *(_value(covered, 100.0, 1) for covered in item.coverage.values()),
        fixed(of * item.sharpness, digits),
    ]


def _value(figure: Estimate, of: float, digits: int) -> str:
    half = of * (figure.high - figure.low) / 2
    return f"{fixed(of * figure.value, digits)}<small>± {fixed(half, digits)}</small>"


def _separations(found: Sequence[OfSeparation]) -> str:
    rows = [
        [
            f"{escape(item.package)}<br><small>{escape(item.sample)}</small>",
            f"{item.n:,}",
            f"{item.trusted:,}",
            _value(item.ratio, 1, 3),
            _value(item.scatter, 1, 3),
            _value(item.inside, 100, 1),
        ]
        for item in found
    ]
    head = ["", "with a separation", "trusted", "2 theta_E / separation", "scatter", "% inside 95 %"]
    plots = "".join(map(separation_plot, found))
    return table(head, rows, label="real lenses", kind="figures") + f'<div class="plots">{plots}</div>' if found else ""


def _guard(evaluation: ParametersEvaluation) -> str:
    rows = [
        [escape(item.stamps), escape(item.package), f"{item.n:,}", _value(item.trusted, 100, 1)]
        for item in evaluation.guard
    ]
    return table(["stamps", "package", "n", "% trusted"], rows, label="what is trusted", words=(1,), kind="figures")


def _stamps(pictures: Sequence[Drawn]) -> str:
    figures = "".join(
        f'<figure><img src="{item.picture}" alt=""><svg viewBox="0 0 {item.side_pix} {item.side_pix}">{item.overlay}'
        f"</svg><figcaption>{escape(item.caption)}</figcaption></figure>"
        for item in pictures
    )
    return f'<div class="stamps">{figures}</div>' if figures else ""


def _provenance(evaluation: ParametersEvaluation) -> str:
    packages = "".join(
        f"<li>{escape(name)}: sha256 {escape(digest)}</li>" for name, digest in evaluation.packages.items()
    )
    config = escape(json.dumps(dict(evaluation.config), indent=1))
    return (
        f"<p>{escape(evaluation.version)}</p><ul>{packages}</ul>"
        f"<details><summary>configuration</summary><pre>{config}</pre></details>"
    )
