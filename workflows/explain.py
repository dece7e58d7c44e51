"""The command `explain`: one row of a scan as a picture, with what its score rests on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import ConfigError
from workflows.console import reporting, show

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pipeline.catalogue.explain import Explained
    from pipeline.catalogue.stamps import Stamp
    from pipeline.models.ensemble import Ensemble


@dataclass(frozen=True)
class ExplainResult:
    """What was found out, where the picture is, and what a reader must know of how it was made.

    Attributes
    ----------
    facts : Explained
    ensemble : str
        Whose saliency it is.
    saliency : mapping
        See `pipeline.catalogue.explain.saliency_facts`.
    picture : str
    notes : tuple of str
    """

    facts: Explained
    ensemble: str
    saliency: dict[str, float | None]
    picture: str
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Values fit for JSON; ids are strings."""
        facts = self.facts
        return {
            **facts.row,
            "vet_flags": list(facts.vet_flags),
            "members": dict(facts.members),
            "pixel_flags": [asdict(flag) for flag in facts.flags],
            "ensemble": self.ensemble,
            "saliency": self.saliency,
            "picture": self.picture,
            "notes": list(self.notes),
        }


def explain(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A scan's output folder.")],
    objid: Annotated[str, typer.Argument(metavar="OBJID", help="A candidate's objid, or any other detection's.")],
    field: Annotated[str | None, typer.Option("--field", help="Its field, where several have the objid.")] = None,
    scan: Annotated[str | None, typer.Option("--scan", metavar="SCAN.toml", help="The config of the scan.")] = None,
    ensemble: Annotated[
        str | None, typer.Option("--ensemble", help="An ensemble, a path or a shipped name, instead of the scan's.")
    ] = None,
    output: Annotated[str | None, typer.Option("--output", help="PNG to write; explain-OBJID.png if left out.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")] = False,
) -> None:
    """Draw one row of a scan: stamp, bands, flags, and where the ensemble looked."""
    with reporting(as_json):
        result = explain_row(path, objid, field=field, scan=scan, ensemble=ensemble, output=output)
        show(as_json, result.as_dict(), lambda: explain_text(result))


def explain_row(
    path: str | Path,
    objid: str,
    *,
    field: str | None = None,
    scan: str | None = None,
    ensemble: str | None = None,
    output: str | Path | None = None,
) -> ExplainResult:
    """Read a row of a scan, ask its ensemble where it looked, and write the picture.

    Parameters
    ----------
    path : str or Path
        A scan's output folder.
    objid : str
        A decimal number.
    field : str, optional
    scan : str, optional
        The scan's config, of which the ensemble is used.
    ensemble : str, optional
        Path or name of one; without either, the ensemble that the scan's products name.
    output : str or Path, optional
        The PNG.

    Raises
    ------
    ConfigError
        If the objid is no number, an option does not go with another, or the ensemble can't be found.
    ModelMismatch
        If the ensemble does not fit the cutouts.
    ProductMismatch, QueryError
        As `pipeline.catalogue.explain.explained` does.
    """
    from pipeline.catalogue.explain import ensemble_of, explained, saliency_facts
    from pipeline.catalogue.explain_picture import explain_png
    from pipeline.io.places import place
    from pipeline.io.storage_check import check
    from pipeline.io.writing import atomic_write

    scanned = place(path)
    check(scanned)
    target = place(output if output is not None else f"explain-{objid}.png")
    if target.suffix.lower() != ".png":
        raise ConfigError(f"--output {target}: the picture is a PNG; give it the suffix .png.")
    if scan is not None and ensemble is not None:
        raise ConfigError("--scan and --ensemble both name an ensemble; give one of them.")
    facts = explained(scanned, _number(objid), field)
    named, digests = ensemble_of(scanned, str(facts.row["field_id"]))
    loaded = ensemble_for(scan, ensemble, named, facts.scan_id)
    loaded.check(facts.stamp.bands, pixel_scale=facts.stamp.pixel_scale, size_pix=facts.stamp.image.shape[-1])
    saliency = saliency_panel(facts.stamp, loaded)
    lens_light, artefact = map_panels(facts.stamp, loaded)
    atomic_write(target, explain_png(facts, saliency=saliency, lens_light=lens_light, artefact=artefact))
    notes = []
    drawers = {} if loaded.mapper is None else {loaded.mapper.package.name: loaded.mapper.package.weights_sha256}
    if facts.row.get("arc_area") is None:
        drawers = {}
    if any(digests.get(name) != digest for name, digest in {**loaded.package_digests(), **drawers}.items()):
        notes.append(f"the scores are of other members or weights than the saliency, which is that of {loaded.name}")
    if facts.row["score"] is None:
        notes.append("no member's rules let it score this stamp; the saliency is what they would have looked at")
    return ExplainResult(
        facts, loaded.name, saliency_facts(saliency, facts.stamp, facts.axes), str(target), tuple(notes)
    )


def map_panels(
    stamp: Stamp, ensemble: Ensemble
) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32] | None]:
    """Lens light and artefacts of a stamp, (y, x) from 0 to 1 each; None where the ensemble has no map package."""
    if ensemble.mapper is None:
        return None, None
    from pipeline.scan.maps import map_cutouts

    maps = map_cutouts(
        stamp.image[None],
        stamp.ivar[None] if stamp.ivar is not None else None,
        stamp.mask[None],
        pixel_scale=stamp.pixel_scale,
        bands=stamp.bands,
        mapper=ensemble.mapper,
    )
    return maps.lens_light[0], maps.artefact[0]


def explain_text(result: ExplainResult) -> str:
    """The same in lines."""
    from pipeline.catalogue.explain_picture import header_lines

    facts = result.facts
    lines = [f"objid {facts.row['objid']}", *header_lines(facts)]
    lines += [f"{flag.name}: {_who(flag.survey, flag.found)}, in {', '.join(flag.bands)}" for flag in facts.flags]
    peak, angle, bad = (result.saliency[name] for name in ("peak", "peak_angle", "on_fatal"))
    if peak is None or bad is None:
        lines.append(f"saliency of {result.ensemble}: nothing in the stamp raises the score")
    else:
        towards = f" at {angle:.0f} deg from north through east" if angle is not None else ""
        lines.append(
            f"saliency of {result.ensemble}: highest {peak:.2f} arcsec from the centre{towards}; "
            f"{100 * bad:.0f} % on fatally flagged pixels"
        )
    return "\n".join([*lines, *(f"note: {note}" for note in result.notes), f"picture: {result.picture}"])


def _who(survey: int, found: int) -> str:
    parts = [(survey, "px from the survey"), (found, "px found")]
    return ", ".join(f"{count:,} {whose}" for count, whose in parts if count)


def _number(objid: str) -> int:
    try:
        return int(objid)
    except ValueError:
        raise ConfigError(f"objid {objid!r} is not a whole number; `lensscan query PATH` lists them.") from None


def ensemble_for(scan: str | None, ensemble: str | None, named: str | None, scan_id: str) -> Ensemble:
    """The ensemble asked for, else the scan's own as its products name it."""
    from pipeline.config import find, shipped
    from pipeline.models.ensemble import load_ensemble
    from pipeline.scan_config import load_scan

    if ensemble is not None:
        return load_ensemble(ensemble)
    if scan is not None:
        path = find(scan, "scans")
        config, _ = load_scan(path)
        if config.ensemble is None:
            raise ConfigError(f"{path} names no ensemble; give one with --ensemble.")
        if config.scan_id != scan_id:
            raise ConfigError(f"{path} is scan {config.scan_id!r}, the output is that of {scan_id!r}; give its config.")
        return load_ensemble(config.ensemble, path.parent)
    if named is not None and (named in shipped("ensembles") or Path(named).is_absolute()):
        return load_ensemble(named)
    # A path in a config is relative to its folder, which the products don't know.
    raise ConfigError(
        f"the scan's ensemble is {named!r}; give its file with --ensemble, or --scan SCAN.toml if that names it."
    )


def saliency_panel(stamp: Stamp, ensemble: Ensemble) -> npt.NDArray[np.float32]:
    """Where in a stamp the ensemble looks, (y, x) from 0 to 1."""
    from pipeline.models.saliency import ensemble_saliency

    ivar = stamp.ivar[None] if stamp.ivar is not None else None
    answer: npt.NDArray[np.float32] = ensemble_saliency(
        stamp.image[None],
        ivar,
        stamp.mask[None],
        pixel_scale=stamp.pixel_scale,
        bands=stamp.bands,
        ensemble=ensemble,
    )[0]
    return answer
