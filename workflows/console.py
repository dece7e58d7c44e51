"""How commands print: one JSON object or a text on standard output, errors on standard error, exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

from pipeline.errors import LensscanError


@contextmanager
def reporting(as_json: bool) -> Iterator[None]:
    """Turn an error that was foreseen, or the system's word on a file, into one message and exit code 2."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads our output has had enough of it
    except (LensscanError, OSError) as error:
        if as_json:
            typer.echo(json.dumps({"error": str(error)}))
        else:
            Console(stderr=True).print(f"lensscan: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None


def show(as_json: bool, values: Mapping[str, Any], text: Callable[[], Any]) -> None:
    """Print values as one JSON object, or else what `text` makes of them."""
    if as_json:
        typer.echo(json.dumps(values))
    else:
        # Paths, field ids and reasons may hold [brackets]: they are text, not markup.
        Console(soft_wrap=True, markup=False).print(text(), highlight=False)


def exit_if(failed: bool) -> None:
    """Leave with exit code 1 where some field failed."""
    if failed:
        raise typer.Exit(1)
