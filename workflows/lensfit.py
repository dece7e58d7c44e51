"""The command `lensfit`: lens parameters of a catalogue's rows, with samples, pictures and fits beside."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import ConfigError
from workflows.console import reporting, show

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.io.places import Place
    from pipeline.models.fitter import Fitter
    from workflows.lensfit_classical import Classical
    from workflows.lensfit_measure import Measuring
    from workflows.setup import ScanSetup

PACKAGE = "ground_lensnet"
FITS = ("map", "nuts")
KEYS = ("objid", "field_id", "ra", "dec", "score")
"""Columns that a table of lens parameters has of the catalogue."""

MOST_SAMPLES = 100_000

_TOLD_S = 10.0
"""Seconds between words on how far it is."""
_SHOWN = 10
"""Rows on the screen."""


@dataclass(frozen=True)
class LensfitResult:
    """What was measured.

    Attributes
    ----------
    output, samples : str
        The two tables.
    objects : int
    measured, trusted : int
        Of them, with parameters, and with some to be trusted.
    fitted, converged : int
        Of them, fitted the classical way, and with an end that can be trusted.
    pictures : int
    seconds : float
        The network's share, reading of cutouts aside.
    rows : tuple of mapping
        The first of the table, JSON values.
    """

    output: str
    samples: str
    objects: int
    measured: int
    trusted: int
    fitted: int
    converged: int
    pictures: int
    seconds: float
    rows: tuple[dict[str, Any], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def lensfit(
    path: Annotated[str, typer.Argument(metavar="CATALOGUE", help="A scan's output folder.")],
    where: Annotated[
        str | None, typer.Argument(metavar="WHERE", help='One SQL expression, as in "score > 0.9 AND mag_i < 21".')
    ] = None,
    package: Annotated[
        str, typer.Option("--package", help="Whose network: a package's folder, or a shipped name.")
    ] = PACKAGE,
    top: Annotated[int | None, typer.Option("--top", help="At most so many candidates, the best first.")] = None,
    field: Annotated[list[str] | None, typer.Option("--field", help="Only this field; may be given again.")] = None,
    objid: Annotated[
        list[str] | None, typer.Option("--objid", help="Only this object, candidate or not; may be given again.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", help="Of each posterior.")] = 256,
    fit: Annotated[
        str | None,
        typer.Option("--fit", help="Fit each the classical way too, from there: map or nuts; minutes each."),
    ] = None,
    priors: Annotated[
        str, typer.Option("--priors", help="With --fit: a config of fits, a path or a shipped name.")
    ] = "galaxies",
    scan: Annotated[
        str | None,
        typer.Option("--scan", metavar="SCAN.toml", help="The scan's config, to cut again what was not kept."),
    ] = None,
    pictures: Annotated[
        str | None, typer.Option("--pictures", help="Folder for a picture of each: stamp beside its re-simulation.")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", help="Table to write; samples go beside it as NAME-samples.parquet.")
    ] = "lensfit.parquet",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Measure the lens parameters of a catalogue's candidates, with posteriors."""
    with reporting(as_json):
        result = lensfit_catalogue(
            path,
            where,
            package=package,
            top=top,
            fields=field,
            objid=objid,
            samples=samples,
            fit=fit,
            priors=priors,
            scan=scan,
            pictures=pictures,
            output=output,
        )
        show(as_json, result.as_dict(), lambda: lensfit_text(result))


def lensfit_catalogue(
    path: str | Path,
    where: str | None = None,
    *,
    package: str = PACKAGE,
    top: int | None = None,
    fields: Sequence[str] | None = None,
    objid: Sequence[str] | None = None,
    samples: int = 256,
    fit: str | None = None,
    priors: str = "galaxies",
    scan: str | None = None,
    pictures: str | Path | None = None,
    output: str | Path = "lensfit.parquet",
) -> LensfitResult:
    """Give a network the cutouts of a catalogue's candidates, and write what it says of them as lenses.

    Strategy: the rows are asked for first. Then one field after the other is looked at, one shard of its cutouts in
    memory; samples are written as they come, and appear when all are there, before the table does.

    Parameters
    ----------
    path : str or Path
        A scan's output folder.
    where, top, fields : optional
        Which candidates, as `pipeline.catalogue.query.query` has it; all of them by default.
    objid : sequence of str, optional
        Decimal numbers; these objects alone, whether candidates or not.
    package : str
        Name or folder of a package that gives lens parameters.
    samples : int
    fit : "map" or "nuts", optional
        Fit the objects the classical way too, from the network's posterior.
    priors : str
        Path or name of a fit's config.
    scan : str, optional
        The scan's config.
    pictures : str or Path, optional
        Gets `<field>-<objid>.png`, of the fit where there is one.
    output : str or Path
        A suffix of `lensscan query --format`.

    Raises
    ------
    ConfigError
        If an option is wrong, or cutouts were not kept and the scan's config is not given.
    ModelMismatch
        If the package gives no lens parameters, or not of these bands.
    ProductMismatch, QueryError
        If there is no catalogue, or nothing in it that fulfils the conditions.
    """
    from pipeline.io.places import place
    from pipeline.io.row_file import RowFile
    from pipeline.io.storage_check import check
    from pipeline.schema import arrow_schema
    from pipeline.schema_lenses import sample_columns
    from workflows.lensfit_measure import Asked, Measuring, in_order
    from workflows.row_sinks import refuse_within

    scanned, target = place(path), place(output)
    beside = target.parent / f"{PurePosixPath(str(target)).stem}-samples.parquet"
    write = _writer(target)
    refuse_within(target, scanned)
    if pictures is not None:
        refuse_within(place(pictures), scanned, option="--pictures")
    check(scanned)
    classical = _classical(fit, priors, pictures)
    measuring = Measuring(_fitter(package, samples), classical)
    asked = Asked(_rows(scanned, where, top, fields, objid))
    setup = _setup(scan, scanned)
    tables: list[pa.Table] = []
    with RowFile(beside, arrow_schema(sample_columns())) as file:
        for found in measuring.all(scanned, asked, setup, _teller(len(asked))):
            file.append(found.samples())
            tables.append(found.table())
    table = in_order(tables, asked)
    write(table)
    return _result(table, str(target), str(beside), measuring)


def lensfit_text(result: LensfitResult) -> str:
    """The first rows as lines, and where the rest is."""
    head = ("objid", "field", "score", "by", "Einstein radius", "e1", "e2", "shear 1", "shear 2", "")
    lines = [head]
    for row in result.rows:
        if row["theta_E"] is None:
            told = ["not measured", *[""] * 4]
        else:
            named = ("theta_E", "mass_e1", "mass_e2", "shear_1", "shear_2")
            told = [f"{row[name]:.2f} ± {row[f'{name}_std']:.2f}" for name in named]
            told[0] += '"'
        doubt = "" if row["theta_E_trusted"] in (True, None) else "not to be trusted"
        lines.append((row["objid"], row["field_id"], f"{row['score'] or 0:.3g}", row["method"], *told, doubt))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.append(
        f"{result.measured:,} of {result.objects:,} measured, {result.trusted:,} of them to be trusted, in "
        f"{result.seconds:.2g} s of the network"
    )
    if result.fitted:
        text.append(f"{result.fitted:,} fitted, {result.converged:,} of them converged")
    if result.pictures:
        text.append(f"{result.pictures:,} pictures")
    return "\n".join([*text, f"{result.output}; samples: {result.samples}"])


def _result(table: pa.Table, output: str, samples: str, measuring: Measuring) -> LensfitResult:
    import pyarrow.compute as pc

    from pipeline.io.exports import json_rows

    of_network = pc.equal(table["method"], "network")
    network, fits = table.filter(of_network), table.filter(pc.invert(of_network))

    def counted(part: pa.Table) -> tuple[int, int]:
        known = part.filter(pc.is_valid(part["theta_E"]))
        return len(known), sum(known["theta_E_trusted"].to_pylist())

    (measured, trusted), (fitted, converged) = counted(network), counted(fits)
    return LensfitResult(
        output=output,
        samples=samples,
        objects=len(network),
        measured=measured,
        trusted=trusted,
        fitted=fitted,
        converged=converged,
        pictures=measuring.pictures,
        seconds=measuring.seconds,
        rows=tuple(json_rows(table.slice(0, _SHOWN))),
    )


def _classical(fit: str | None, priors: str, pictures: str | Path | None) -> Classical | None:
    """What fits and draws, where either is asked for."""
    if fit is not None and fit not in FITS:
        raise ConfigError(f"--fit {fit!r}: there are {' and '.join(FITS)}.")
    if fit is None and pictures is None:
        return None
    from pipeline.io.places import place
    from pipeline.lensfit.config import load_fit
    from workflows.lensfit_classical import Classical

    return Classical(load_fit(priors), fit, None if pictures is None else place(pictures))


def _fitter(package: str, samples: int) -> Fitter:
    from pipeline.models.card import find_package
    from pipeline.models.fitter import Fitter
    from pipeline.models.fitter_config import FitterConfig
    from pipeline.models.package import load_package

    if not 2 <= samples <= MOST_SAMPLES:
        raise ConfigError(f"--samples {samples}: give a number from 2 to {MOST_SAMPLES:,}.")
    return Fitter(load_package(find_package(package)), FitterConfig(package=package, samples=samples))


def _rows(
    scanned: Place, where: str | None, top: int | None, fields: Sequence[str] | None, objid: Sequence[str] | None
) -> pa.Table:
    """The rows wanted, best first."""
    from pipeline.catalogue.query import query
    from pipeline.errors import QueryError
    from pipeline.io import ownership

    ownership.identity(scanned)
    if objid:
        chosen = f"objid IN ({', '.join(str(_number(one)) for one in objid)})"
        where = chosen if where is None else f"({where}) AND {chosen}"
    table = query(scanned, where, top=top, field=fields or None, all=bool(objid), columns=list(KEYS))
    if not len(table):
        raise QueryError(f"{scanned}: no candidate fulfils the conditions; `lensscan query {scanned}` lists them.")
    return table


def _number(objid: str) -> int:
    try:
        return int(objid)
    except ValueError:
        raise ConfigError(f"--objid {objid!r} is not a whole number; `lensscan query PATH` lists them.") from None


def _setup(scan: str | None, scanned: Place) -> ScanSetup | None:
    if scan is None:
        return None
    from workflows.cut_again import require_same_scan
    from workflows.setup import open_scan

    setup = open_scan(scan, str(scanned))
    require_same_scan(setup, scanned, scan, "--scan")
    return setup


def _writer(target: Place) -> Callable[[pa.Table], None]:
    """What writes the table, by the file's suffix; raises ConfigError for one of no format."""
    from pipeline.io.exports import FORMATS, SUFFIXES
    from pipeline.io.writing import atomic_write

    form = SUFFIXES.get(PurePosixPath(str(target)).suffix.lower())
    if form is None:
        raise ConfigError(f"--output {target}: give a suffix of {', '.join(SUFFIXES)}.")
    return lambda table: atomic_write(target, FORMATS[form](table))


def _teller(total: int) -> Callable[[int], None]:
    """Says on standard error, now and then, how many objects are done."""
    last = time.monotonic()

    def tell(done: int) -> None:
        nonlocal last
        if time.monotonic() - last > _TOLD_S:
            last = time.monotonic()
            typer.echo(f"{done:,}/{total:,} objects", err=True)

    return tell
