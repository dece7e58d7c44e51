"""The command `shots`: a few stamps of a rare kind make a new scored column, without training."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workflows.console import reporting, show

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pipeline.models.package import ModelPackage

_AT_ONCE = 512
"""Stamps embedded at a time."""

_MOST = 5000
"""Background stamps that are read, evenly from all that there are."""

_LEAST_SHARE = 0.5
"""Of the side that the network reads: a narrower example of a kind says too little of it."""


@dataclass(frozen=True)
class ShotsResult:
    """What was made: the package, the stamps that it rests on, and its figures by name."""

    package: str
    shots: int
    background: int
    metrics: dict[str, float]


def make_shots(
    package: str,
    path: Path,
    out: Path,
    *,
    name: str,
    against: Path,
    pixel_scale: float,
    bands: tuple[str, ...] | None = None,
) -> ShotsResult:
    """Make a package that scores how like a few stamps an object is.

    Parameters
    ----------
    package : str
        Folder of a package, or a shipped one's name, whose network embeds the stamps; any will do.
    path : Path
        Stamps of the rare kind, five or so, as `pipeline.io.stamps.open_stamps` reads them.
    out : Path
        Folder of the new package.
    name : str
        Of the kind; becomes a column's.
    against : Path
        Stamps of the survey's other objects, from two hundred on.
    pixel_scale : float, arcsec
        Of all stamps.
    bands : tuple of str, optional
        Of them, in order; the package's if not given.

    Raises
    ------
    ConfigError
        For a folder that holds a package, stamps that can't be read or are too small or blank, too few of either
        class, a background that holds the kind's very stamps, or a name that can't be a column's.
    ModelMismatch
        For bands that the package doesn't have, or pixels far coarser than its own.
    """
    import shlex

    import numpy as np

    from pipeline.errors import ConfigError
    from pipeline.models.card import CARD, find_package
    from pipeline.models.package import load_package
    from pipeline.models.publish import save_package
    from pipeline.train.shots import fit_shots, shots_card

    if not (np.isfinite(pixel_scale) and pixel_scale > 0):
        raise ConfigError(f"--pixel-scale must be a positive number of arcsec, not {pixel_scale!r}.")
    if (out / CARD).is_file() or out.is_file():
        raise ConfigError(f"{out} holds a package, or is a file; give another --out, or move it away.")
    loaded = load_package(find_package(package))
    loaded.check_pixels(pixel_scale)
    shots, looks, told = _embedded(loaded, path, bands, pixel_scale, turned=True)
    others, _, background = _embedded(loaded, against, bands, pixel_scale, turned=False)
    if same := set(told) & set(background):
        raise ConfigError(f"{against}: holds {len(same)} of the stamps of {path}, to the pixel; take them out.")
    made = fit_shots(loaded, shots, looks, others, name)
    chosen = "" if bands is None else f" --bands {','.join(bands)}"
    command = (
        f"lensscan shots {shlex.quote(package)} {shlex.quote(str(path))} --name {name} --against "
        f"{shlex.quote(str(against))} --pixel-scale {pixel_scale:g}{chosen}"
    )
    card = shots_card(loaded, made, name, command, [*told, *background])
    save_package(out, card, made.network, made.calibration, loaded.familiarity)
    return ShotsResult(str(out), len(shots), len(others), {metric.name: metric.value for metric in card.metrics})


def _embedded(
    package: ModelPackage, path: Path, bands: tuple[str, ...] | None, pixel_scale: float, *, turned: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], list[str]]:
    """Embeddings (n, d) of stamps, those of the stamps as they stand, and a hash of each one's pixels.

    Examples (`turned`) must all be good, and each counts by the mean over its eight turns and mirror images; of a
    background what is not good is left out.
    """
    import numpy as np

    from pipeline.errors import ConfigError, ModelMismatch
    from pipeline.io.stamps import open_stamps
    from pipeline.models import colour

    card = package.card
    stamps = open_stamps(path, bands, card.bands)
    held = stamps.bands or colour.BANDS
    if missing := [band for band in card.bands if band not in held]:
        raise ModelMismatch(
            f"{path}: bands {', '.join(held)}; {package.name} reads {', '.join(card.bands)}, and "
            f"{', '.join(missing)} is missing."
        )
    rows = np.unique(np.linspace(0, len(stamps) - 1, min(len(stamps), len(stamps) if turned else _MOST)).astype(int))
    least = _LEAST_SHARE * card.size_pix * card.pixel_scale / pixel_scale
    shapes: dict[tuple[int, ...], list[npt.NDArray[np.float32]]] = {}
    hashes, bad = [], []
    for row in rows.tolist():
        stamp = stamps.read(row)
        pixels = stamp.pixels
        if pixels is not None and stamps.colour:
            pixels = colour.fluxes(pixels[None])[0]
        if reason := _why_bad(pixels, stamp.reason, least):
            bad.append(f"{stamp.name}: {reason}")
        elif pixels is not None:
            shapes.setdefault(pixels.shape, []).append(pixels)
            hashes.append(hashlib.sha256(np.ascontiguousarray(pixels, np.float32).tobytes()).hexdigest())
    if bad and turned:
        raise ConfigError(f"{path}: {len(bad)} of {len(rows)} stamps can be no example; {'; '.join(bad[:3])}.")
    if bad:
        typer.echo(f"{path}: {len(bad):,} of {len(rows):,} stamps are left out; {bad[0]}", err=True)
    if not hashes:
        raise ConfigError(f"{path}: no stamp in it that can be read.")
    parts = [_of_shape(package, alike, held, pixel_scale, turned) for alike in shapes.values()]
    means, looks = (np.concatenate(part) for part in zip(*parts, strict=True))
    return means, looks, hashes


def _why_bad(pixels: npt.NDArray[Any] | None, reason: str | None, least: float) -> str | None:
    import numpy as np

    if pixels is None:
        return reason or "unreadable"
    if min(pixels.shape[1:]) < least:
        return f"{pixels.shape[2]} x {pixels.shape[1]} px, less than the {math.ceil(least)} that say enough"
    middle = tuple(slice(length // 2 - 1, length // 2 + 2) for length in pixels.shape[1:])
    if not np.isfinite(pixels[:, *middle]).any(axis=(1, 2)).all() or not np.nan_to_num(pixels).any(axis=(1, 2)).all():
        return "blank in some band, or at the centre"
    return None


def _of_shape(
    package: ModelPackage,
    alike: list[npt.NDArray[np.float32]],
    bands: tuple[str, ...],
    pixel_scale: float,
    turned: bool,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Embeddings (n, d) of stamps of one shape, means over their turns if `turned`, and those of the stamps alone."""
    import numpy as np

    from pipeline.evaluate.realism.probe import embeddings
    from pipeline.evaluate.samples.sample import Part

    means, upright = [], []
    for start in range(0, len(alike), _AT_ONCE):
        stack = np.stack(alike[start : start + _AT_ONCE]).astype(np.float32)
        views = [stack]
        if turned:
            views = [np.rot90(view, turn, (2, 3)) for view in (stack, stack[..., ::-1]) for turn in range(4)]
        looks = [
            embeddings(Part(np.ascontiguousarray(view), None, None), package, bands=bands, pixel_scale=pixel_scale)
            for view in views
        ]
        means.append(np.mean(looks, axis=0))
        upright.append(looks[0])
    return np.concatenate(means), np.concatenate(upright)


def shots(
    package: Annotated[
        str, typer.Argument(metavar="PACKAGE", help="Whose network embeds: a folder, or a shipped name.")
    ],
    path: Annotated[Path, typer.Argument(metavar="STAMPS", help="A few stamps of the rare kind: folder or array.")],
    name: Annotated[str, typer.Option("--name", help="Of the kind; the column is score_<name>.")],
    against: Annotated[Path, typer.Option("--against", help="Stamps of the survey's other objects: folder or array.")],
    pixel_scale: Annotated[float, typer.Option("--pixel-scale", help="Of all stamps, in arcsec.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the new package.")],
    bands: Annotated[str | None, typer.Option("--bands", help="Of the stamps, in order, such as g,r,i.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Make a scored column of a rare kind from a few stamps of it, without training."""
    with reporting(as_json):
        names = None if bands is None else tuple(band.strip() for band in bands.split(",") if band.strip())
        result = make_shots(
            package, path, out, name=name, against=against, pixel_scale=pixel_scale, bands=names or None
        )
        show(as_json, asdict(result), lambda: _text(result))


def _text(result: ShotsResult) -> str:
    import json

    figures = "\n".join(f"  {name}: {value:.4f}" for name, value in result.metrics.items())
    return (
        f"{result.package}: {result.shots} stamps against {result.background:,}\n{figures}\n"
        "Score it beside an ensemble's rule, no part of it:\n\n"
        f"[[members]]\npackage = {json.dumps(str(Path(result.package).absolute()), ensure_ascii=False)}\nweight = 0"
    )
