"""The command `stamps`: score ready-made stamps of any size and pixel scale."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.console import reporting, show

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pipeline.io.stamps import Stamp, StampSet
    from pipeline.models.ensemble import Ensemble

_AT_ONCE = 1024
"""Stamps in memory at a time."""

_NAMED = 5
"""Stamps that a line on standard error names."""

_MARGIN = 8
"""Pixels kept around what the members see, for resampling."""

_LEAST_SHARE = 0.2
"""Of the side that members read: a stamp with a shorter one shows no more than a galaxy's core and gets no score."""


@dataclass(frozen=True)
class StampsResult:
    """What was scored: stamps, those with a score, and the table."""

    n: int
    scored: int
    output: str


def score_stamps(
    path: Path,
    output: Path,
    *,
    pixel_scale: float,
    bands: tuple[str, ...] | None = None,
    ensemble: str = "ground",
    prior: float | None = None,
) -> StampsResult:
    """Score stamps and write `name, score, score_<member>` in the order of the input.

    Stamps without a score, and those that cover less than half of what the members read, are counted on standard
    error, and the first few named.

    Parameters
    ----------
    path : Path
        Folder or file; see `pipeline.io.stamps.open_stamps`.
    output : Path
        CSV or Parquet, by its suffix.
    pixel_scale : float, arcsec
    bands : tuple of str, optional
        Needed for float arrays; for FITS the ensemble's own are looked for otherwise. Pictures have none:
        their red, green, blue stand for i, r, g.
    ensemble : str
        Path of an ensemble TOML or name of a shipped one.
    prior : float, optional
        Share of lenses among the stamps; that of `CandidatesConfig` if None.

    Raises
    ------
    ConfigError
        For anything wrong with the arguments or an input that can't be opened at all.
    ModelMismatch
        If the bands are not what a member needs.
    """
    import numpy as np

    from pipeline.errors import ConfigError
    from pipeline.io.stamps import check_output, open_stamps, write_scores
    from pipeline.models import colour
    from pipeline.models.ensemble import load_ensemble
    from pipeline.scan_config import CandidatesConfig

    if not (np.isfinite(pixel_scale) and pixel_scale > 0):
        raise ConfigError(f"--pixel-scale must be a positive number of arcsec, not {pixel_scale!r}.")
    if prior is not None and not 0 < prior < 1:
        raise ConfigError(f"--prior must lie between 0 and 1, not {prior!r}.")
    check_output(output)
    loaded = load_ensemble(ensemble)
    stamps = open_stamps(path, bands, loaded.bands())
    if stamps.colour and bands is not None:
        raise ConfigError(f"{path}: 8-bit colour stands for i, r, g; leave --bands out.")
    loaded.check(stamps.bands or colour.BANDS, pixel_scale=pixel_scale)
    logits = np.full((len(stamps), len(loaded.members)), np.nan, dtype=np.float32)
    sides = [member.card.size_pix * member.card.pixel_scale for member in loaded.members]
    side = max(sides[number] for number in loaded.ruling)
    unscored: list[str] = []
    small: list[str] = []
    for start, chunk in _chunks(stamps, math.ceil(max(sides) / pixel_scale) + _MARGIN):
        logits[start : start + len(chunk)] = _score_chunk(
            chunk, stamps.bands, loaded, pixel_scale, least=_LEAST_SHARE * side / pixel_scale
        )
        for row, stamp in enumerate(chunk, start):
            if stamp.pixels is None:
                continue
            if np.isnan(logits[row, list(loaded.ruling)]).any():
                unscored.append(stamp.name)
            elif 2 * math.prod(_sides(stamp.pixels, stamps.colour)) * pixel_scale**2 < side**2:
                small.append(stamp.name)
    _tell(unscored, "have no score, being too small, blank or the same everywhere in some band, or bad at the centre")
    _tell(small, f"cover less than half of the {side:g} arcsec that members read, so trust their scores little")
    found = loaded.score(logits, CandidatesConfig().prior if prior is None else prior)
    columns = {f"score_{name}": found.members[:, index] for index, name in enumerate(loaded.names)}
    write_scores(output, stamps.names, {"score": found.score, **columns})
    return StampsResult(len(stamps), int(np.isfinite(found.score).sum()), str(output))


def stamps(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of FITS or pictures, or .npy/.npz array.")],
    pixel_scale: Annotated[float, typer.Option("--pixel-scale", help="Of the stamps, in arcsec.")],
    bands: Annotated[str | None, typer.Option("--bands", help="Of float stamps, in order, such as g,r,i.")] = None,
    ensemble: Annotated[str, typer.Option("--ensemble", help="An ensemble: a path, or a shipped name.")] = "ground",
    output: Annotated[Path, typer.Option("--output", help="Table to write, .csv or .parquet.")] = Path("stamps.csv"),
    prior: Annotated[float | None, typer.Option("--prior", help="Share of lenses among the stamps.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Score ready-made stamps of any size and pixel scale."""
    with reporting(as_json):
        names = None if bands is None else tuple(band.strip() for band in bands.split(",") if band.strip())
        result = score_stamps(
            path, output, pixel_scale=pixel_scale, bands=names or None, ensemble=ensemble, prior=prior
        )
        show(as_json, asdict(result), lambda: f"{result.scored} of {result.n} stamps scored: {result.output}")


def _chunks(stamps: StampSet, side: int) -> Iterator[tuple[int, list[Stamp]]]:
    """Stamps a thousand at a time, cropped to what the members can see."""
    for start in range(0, len(stamps), _AT_ONCE):
        chunk = (stamps.read(index) for index in range(start, min(start + _AT_ONCE, len(stamps))))
        yield start, [_cropped(stamp, side, stamps.colour) for stamp in chunk]


def _cropped(stamp: Stamp, side: int, colour: bool) -> Stamp:
    """The middle of a stamp, at least `side` pixels wide where it has them; the centre stays where it is."""
    if stamp.pixels is None:
        return stamp
    cuts = [max(0, (length - side) // 2) for length in _sides(stamp.pixels, colour)]
    y, x = (slice(cut, -cut or None) for cut in cuts)
    middle = stamp.pixels[y, x] if colour else stamp.pixels[:, y, x]
    return replace(stamp, pixels=middle.copy())


def _score_chunk(
    chunk: list[Stamp], bands: tuple[str, ...] | None, ensemble: Ensemble, pixel_scale: float, least: float
) -> npt.NDArray[np.float32]:
    """Logits of some stamps, those of one shape together.

    NaN where unreadable, with a line on standard error, or less than `least` pixels wide or high.
    """
    import numpy as np

    from pipeline.models import colour
    from pipeline.scan.score import score_cutouts
    from pipeline.scan_config import ScoreConfig

    logits = np.full((len(chunk), len(ensemble.members)), np.nan, dtype=np.float32)
    shapes: dict[tuple[int, ...], dict[int, npt.NDArray[Any]]] = {}
    for row, stamp in enumerate(chunk):
        if stamp.pixels is None:
            typer.echo(f"{stamp.name}: no score: {stamp.reason}", err=True)
        elif min(_sides(stamp.pixels, bands is None)) >= least:
            shapes.setdefault(stamp.pixels.shape, {})[row] = stamp.pixels
    for alike in shapes.values():
        rows, pixels = list(alike), np.stack(list(alike.values()))
        logits[rows] = score_cutouts(
            colour.fluxes(pixels) if bands is None else pixels,
            None,
            None,
            pixel_scale=pixel_scale,
            bands=bands or colour.BANDS,
            ensemble=ensemble,
            config=ScoreConfig(),
        )
    return logits


def _tell(names: list[str], what: str) -> None:
    if names:
        first = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
        typer.echo(f"{len(names):,} stamp{'s' if len(names) > 1 else ''} {what}: {first}", err=True)


def _sides(pixels: npt.NDArray[Any], colour: bool) -> tuple[int, ...]:
    return pixels.shape[:2] if colour else pixels.shape[1:]
