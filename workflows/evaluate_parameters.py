"""Evaluations of kind `parameters`: posteriors of lens parameters, of one package or several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table

from workflows.evaluate_kinds import Told

if TYPE_CHECKING:
    from pipeline.evaluate.metrics import Estimate
    from pipeline.evaluate.parameters.result import ParametersEvaluation

RESULT, REPORT = "evaluation.json", "report.html"


def run(path: Path, out: Path | None, report: Callable[[str], None]) -> Told:
    """Measure the posteriors of a config's packages, and write result and report.

    A sample whose place an unset environment variable names, or whose files are not there, is "not measured": its
    reason goes to `report`, into the result and the page, and the other samples are measured.

    Parameters
    ----------
    path : Path
        An evaluation TOML of kind `parameters`.
    out : Path, optional
        Folder of the results; `runs/evaluations/<name>` if None.
    report : callable
        Is told how far it is.

    Raises
    ------
    ConfigError
        For a wrong configuration, package or sample, or nothing to measure.
    ModelMismatch
        If a package gives no posterior or can't read a sample.
    """
    from pipeline.errors import ConfigError
    from pipeline.evaluate.parameters.answers import ask, load_posterior_packages
    from pipeline.evaluate.parameters.config import load_parameters
    from pipeline.evaluate.parameters.measure import measure
    from pipeline.evaluate.parameters.page import page
    from pipeline.evaluate.parameters.pictures import drawn
    from pipeline.evaluate.result import plain
    from pipeline.io.writing import atomic_write, write_json
    from pipeline.provenance import software
    from workflows.evaluate import open_samples

    config, absent = load_parameters(path)
    packages = load_posterior_packages(config.packages)
    samples = open_samples(config, absent)
    for name, reason in absent.items():
        report(f"NOT MEASURED: {name}: {reason}")
    if not samples:
        raise ConfigError(f"{path}: no sample can be measured: " + "; ".join(absent.values()))
    asked = [ask(sample, packages, config, report) for sample in samples]
    result = measure(config, packages, asked, not_measured=absent, version=" ".join(software().values()))
    folder = out or Path("runs/evaluations") / config.name
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [item for one in asked for item in drawn(one, config)]
    atomic_write(folder / REPORT, page(result, config, pictures).encode())
    write_json(folder / RESULT, plain(result))
    return Told({**plain(result), "output": str(folder)}, _text(result, folder))


def _text(result: ParametersEvaluation, output: Path) -> Group:
    """A table of the Einstein radius, a row a package and cut; real lenses; what is trusted; what wasn't measured."""
    table = Table(title="Einstein radius", title_justify="left", box=None, pad_edge=False, width=150)
    for name in ("package", "lenses with", "n", "bias %", "scatter %", "68 % covers"):
        table.add_column(name, no_wrap=True, justify="left" if name in ("package", "lenses with") else "right")
    for one in result.known:
        for item in one.figures:
            if item.parameter == "theta_E":
                covered = _figure(item.coverage["0.68"], 100) if "0.68" in item.coverage else "–"
                cells = (f"{item.n:,}", _figure(item.bias, 100), _figure(item.scatter, 100), covered)
                table.add_row(one.package, item.cut, *cells)
    lines = [
        f"{item.package}, {item.sample}: 2 theta_E is {_figure(item.ratio, 1)} of the image separation, scatter "
        f"{_figure(item.scatter, 1)}, of {item.trusted} trusted of {item.n}"
        for item in result.separations
    ]
    lines += [
        f"{item.package}: {100 * item.trusted.value:.1f} % trusted of {item.n:,} {item.stamps}"
        for item in result.guard
        if item.n
    ]
    lines += [f"NOT MEASURED: {name}: {reason}" for name, reason in result.not_measured.items()]
    return Group(table, "", *lines, f"{output / REPORT}")


def _figure(figure: Estimate, of: float) -> str:
    return f"{of * figure.value:.2f} ± {of * (figure.high - figure.low) / 2:.2f}"
