"""The command `lensscan`: each command loads a config, makes one library call and prints.

`query` needs neither torch nor dask, so what a command needs is imported when it runs.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from workflows.allocator import keep_freed_memory
from workflows.calibrate import calibrate
from workflows.catalogue import query, report
from workflows.console import exit_if, reporting, show
from workflows.crossmatch import crossmatch
from workflows.diff import diff
from workflows.evaluate import evaluate
from workflows.explain import explain
from workflows.grades import grades
from workflows.import_ou import import_ou
from workflows.inspector import inspect
from workflows.interrupts import STOPPED, exit_code, listen
from workflows.lensfit import lensfit
from workflows.publish import publish
from workflows.shots import shots
from workflows.similar import similar
from workflows.simulate import simulate
from workflows.stamps import stamps
from workflows.train import train

# typer carries click inside itself from some version on; its own face for a wrong call is this class's base.
UsageError: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    help="Scan an imaging survey for strong gravitational lenses.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Config = Annotated[str, typer.Argument(metavar="SCAN.toml", help="A scan's config: a path, or a shipped name.")]
Out = Annotated[str | None, typer.Option("--out", help="Folder of the products, instead of the config's own.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output and nothing else.")]
Cluster = Annotated[
    str | None,
    typer.Option("--cluster", help="A cluster's config (path or shipped name) or a scheduler's address."),
]
Fields = Annotated[str | None, typer.Option("--fields", help="Only these fields, separated by commas.")]
Retry = Annotated[bool, typer.Option("--retry-failed", help="Try quarantined fields again.")]


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for survey, products and report.")] = Path("demo-scan"),
    seed: Annotated[int, typer.Option(help="Seed of the synthetic sky.")] = 1,
    cluster: Cluster = None,
    as_json: Json = False,
) -> None:
    """Scan a small synthetic survey with planted lenses and artefacts, and compare with its truth."""
    from workflows.cluster import cluster_config
    from workflows.demo import demo_text, run_demo

    with reporting(as_json):
        result = run_demo(out, cluster_config(cluster), seed=seed)
        show(as_json, result.as_dict(), lambda: demo_text(result))
        exit_if(bool(result.failed))


@app.command()
def plan(
    config: Config,
    out: Out = None,
    fields: Fields = None,
    cluster: Cluster = None,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="Start and measure nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a scan would do, with a forecast measured on a few fields; changes no product."""
    from workflows.cluster import cluster_config
    from workflows.run import plan_report
    from workflows.setup import open_scan
    from workflows.texts import plan_text

    with reporting(as_json):
        result = plan_report(open_scan(config, out), cluster_config(cluster), _names(fields), measure=not no_probe)
        show(as_json, result.as_dict(), lambda: plan_text(result))


@app.command()
def scan(
    config: Config,
    out: Out = None,
    cluster: Cluster = None,
    fields: Fields = None,
    retry_failed: Retry = False,
    as_json: Json = False,
) -> None:
    """Scan a survey; what is done stays, so running it again resumes."""
    from workflows.cluster import cluster_config
    from workflows.run import run_scan
    from workflows.setup import open_scan
    from workflows.texts import scan_text

    with reporting(as_json):
        setup = open_scan(config, out)
        outcome = run_scan(setup, cluster_config(cluster), fields=_names(fields), retry_failed=retry_failed)
        show(as_json, outcome.as_dict(), lambda: scan_text(outcome, config, out, cluster))
        exit_if(bool(outcome.failures))


@app.command()
def field(
    config: Config,
    field_id: Annotated[str, typer.Argument(metavar="FIELD", help="The field to compute again.")],
    first_stage: Annotated[
        str, typer.Option("--from", help="First stage to redo: masks, detect, cutouts, score or candidates.")
    ] = "masks",
    out: Out = None,
    cluster: Cluster = None,
    as_json: Json = False,
) -> None:
    """Compute one field again and print what changed; no other field is touched."""
    from workflows.cluster import cluster_config
    from workflows.run import run_field
    from workflows.setup import open_scan
    from workflows.texts import field_text

    with reporting(as_json):
        setup = open_scan(config, out)
        outcome = run_field(setup, cluster_config(cluster), field_id, first_stage=first_stage)
        show(as_json, outcome.as_dict(), lambda: field_text(outcome, config, out, cluster))
        exit_if(bool(outcome.failures))


@app.command()
def status(config: Config, out: Out = None, as_json: Json = False) -> None:
    """Show the state of every field and stage: done, empty, stale, missing or failed, and why."""
    from workflows.run import status as status_rows
    from workflows.setup import open_scan
    from workflows.texts import status_text

    with reporting(as_json):
        rows = status_rows(open_scan(config, out))
        show(as_json, {"fields": rows}, lambda: status_text(rows))


def main() -> None:
    """Run the command line; what ends it early is one message, or one JSON object with `--json`.

    Exit code 2 where it could not start or go on, 128 and the signal's number where it was stopped.
    """
    keep_freed_memory()
    listen()
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        if _as_json():
            _end(error.format_message(), 2)
        error.show()
        sys.exit(error.exit_code)
    except typer.Abort:
        _end(STOPPED, 1)
    except Exception as error:
        traceback.print_exc()
        _end(f"not foreseen: {type(error).__name__}: {error}", 2)
    stopped = exit_code()
    if stopped is not None:
        _end(STOPPED, stopped)
    sys.exit(code if isinstance(code, int) else 0)


def _end(message: str, code: int) -> NoReturn:
    if _as_json():
        typer.echo(json.dumps({"error": message}))
    else:
        typer.echo(f"lensscan: {message}", err=True)
    sys.exit(code)


def _as_json() -> bool:
    return "--json" in sys.argv[1:]


def _names(fields: str | None) -> list[str] | None:
    return [name.strip() for name in fields.split(",") if name.strip()] if fields is not None else None


app.command()(calibrate)
app.command()(query)
app.command()(crossmatch)
app.command()(diff)
# An objid may be negative, and a minus sign opens no option here.
app.command("explain", context_settings={"ignore_unknown_options": True})(explain)
app.command("similar", context_settings={"ignore_unknown_options": True})(similar)
for command in (report, inspect, publish, stamps, simulate, train, evaluate, grades, lensfit, shots):
    app.command()(command)
app.command("import-ou")(import_ou)

if __name__ == "__main__":
    main()
