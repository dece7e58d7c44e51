"""The command `inspect`: a page on this machine to look at candidates and grade them."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import ConfigError
from workflows.console import reporting, show

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.catalogue.stamps import Stamp
    from pipeline.inspector.gallery import Maps, MapSource
    from pipeline.inspector.planted import Planted
    from pipeline.inspector.session import Session, Similar
    from pipeline.io.places import Place

LIKE = 200
"""Objects shown that look like one."""


@dataclass(frozen=True)
class Wanted:
    """What is to be shown.

    Attributes
    ----------
    path : str
        A scan's output.
    where : str, optional
    top : int, optional
    copies : bool
        Every copy of an object in overlapping fields.
    grades : str, optional
        Folder of grades.
    known : str, optional
        Table of known lenses.
    lenses, duds : sequence of str
        What to plant; see `pipeline.inspector.planted.read_planted`.
    share : float
        Of planted objects in a blind grader's stream.
    scan, ensemble : str, optional
        Where the ensemble that draws maps is found; see `workflows.explain.explain_row`.
    """

    path: str
    where: str | None = None
    top: int | None = None
    copies: bool = False
    grades: str | None = None
    known: str | None = None
    lenses: Sequence[str] = ()
    duds: Sequence[str] = ()
    share: float = 0.05
    scan: str | None = None
    ensemble: str | None = None


def inspect(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A scan's output folder.")],
    where: Annotated[
        str | None, typer.Argument(metavar="WHERE", help='Only these candidates, as in "score > 0.01 AND mag_i < 21".')
    ] = None,
    top: Annotated[int | None, typer.Option("--top", min=1, help="At most so many candidates, the best first.")] = None,
    copies: Annotated[bool, typer.Option("--copies", help="Every copy of an object in overlapping fields.")] = False,
    grades: Annotated[
        str | None, typer.Option("--grades", metavar="DIR", help="Folder of grades; PATH-grades if left out.")
    ] = None,
    known: Annotated[
        str | None, typer.Option("--known", metavar="FILE", help="Table of known lenses, to name the nearest.")
    ] = None,
    lenses: Annotated[
        list[str] | None,
        typer.Option("--plant-lenses", metavar="FILES", help="Lenses to plant: pools, or tables of rows; repeatable."),
    ] = None,
    duds: Annotated[
        list[str] | None,
        typer.Option("--plant-duds", metavar="FILES", help="What is no lens, to plant likewise; repeatable."),
    ] = None,
    share: Annotated[
        float, typer.Option("--planted-share", help="Share of planted objects in what a blind grader sees.")
    ] = 0.05,
    scan: Annotated[
        str | None, typer.Option("--scan", metavar="SCAN.toml", help="The scan's config, to find what draws maps.")
    ] = None,
    ensemble: Annotated[
        str | None, typer.Option("--ensemble", help="The ensemble that draws maps, instead of the scan's.")
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; one that others reach asks them for a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 for any that is free.")] = 8642,
    token: Annotated[bool, typer.Option("--token", help="Ask for a token on this machine, too.")] = False,
    open_page: Annotated[bool, typer.Option("--open/--no-browser", help="Open the page in a browser.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object when the page is there.")] = False,
) -> None:
    """Look at a scan's candidates and grade them, on a page that this command serves until it is stopped."""
    with reporting(as_json), ExitStack() as closing:
        _require_server()
        from pipeline.inspector.app import make_app
        from pipeline.inspector.guard import access_to
        from pipeline.inspector.server import Server, address, bind

        bound = closing.enter_context(bind(host, port))
        wanted = Wanted(path, where, top, copies, grades, known, lenses or (), duds or (), share, scan, ensemble)
        session = open_session(wanted, closing)
        access = access_to(host, bound.getsockname()[1], with_token=token)
        url = address(bound, host, access.token)

        def ready() -> None:
            show(as_json, {"url": url, **session_facts(session)}, lambda: inspect_text(session, url))
            if open_page:
                webbrowser.open(url)

        Server(make_app(session, access), ready).run(sockets=[bound])
        if not as_json:
            show(False, {}, lambda: f"stopped; {_count(session)} grades are in {session.grades.folder}")


def open_session(wanted: Wanted, closing: ExitStack) -> Session:
    """Read a scan's candidates and open its folder of grades; `closing` closes it.

    Raises
    ------
    ConfigError, GradeError, ProductMismatch, QueryError
        If something named is not there or does not fit, or the folder of grades is open elsewhere.
    """
    from pipeline.catalogue.crossmatch import read_known
    from pipeline.catalogue.stamps import scan_stamps
    from pipeline.inspector.gallery import Gallery
    from pipeline.inspector.grades import open_grades
    from pipeline.inspector.identity import catalogue_identity, grades_folder
    from pipeline.inspector.objects import Objects, read_candidates
    from pipeline.inspector.planted_read import planted_stamps
    from pipeline.inspector.session import Session
    from pipeline.io.places import place
    from pipeline.io.storage_check import check

    if not 0 <= wanted.share <= 0.5:
        raise ConfigError(f"--planted-share {wanted.share}: give a number from 0 to 0.5.")
    output = place(wanted.path)
    check(output)
    if not (output / "scan.json").is_file():
        raise ConfigError(f"{output} is no scan's output (no scan.json); name its folder, which has the cutouts.")
    table, more = read_candidates(output, wanted.where, top=wanted.top, copies=wanted.copies)
    folder = place(wanted.grades) if wanted.grades is not None else grades_folder(output)
    known_keys = set(zip(table["field_id"].cast("string").to_pylist(), table["objid"].to_pylist(), strict=True))
    grades = closing.enter_context(
        open_grades(str(folder), catalogue_identity=catalogue_identity(output), known=known_keys)
    )
    planted = _planted(output, grades.folder, wanted)
    known_keys |= set(planted.by_key)
    objects = Objects(output, table, planted, grades.secret)
    stamps = planted_stamps(planted, output, scan_stamps(output)) if planted else scan_stamps(output)
    notes = [*_notes(output, table, more, wanted), *([grades.note] if grades.note else [])]
    return Session(
        objects,
        Gallery(objects, stamps, _maps(output, grades.identity.scan_id, wanted)),
        grades,
        known=read_known(wanted.known) if wanted.known is not None else None,
        similar=_similar(output),
        share=wanted.share,
        notes=tuple(notes),
    )


def session_facts(session: Session) -> dict[str, Any]:
    """What is served, for JSON."""
    return {
        "candidates": len(session.objects.rows),
        "planted": len(session.objects.planted) if session.planting else 0,
        "graded": _count(session),
        "grades": str(session.grades.folder),
        "notes": list(session.notes),
    }


def inspect_text(session: Session, url: str) -> str:
    """The same in lines."""
    facts = session_facts(session)
    planted = f", {facts['planted']} planted objects at hand" if facts["planted"] else ""
    lines = [
        f"{facts['candidates']:,} candidates of {session.grades.identity}{planted}",
        f"{facts['graded']:,} grades in {facts['grades']}",
        *(f"note: {note}" for note in session.notes),
        url,
        "Ctrl-C stops; every grade is saved when it is given.",
    ]
    return "\n".join(lines)


def _require_server() -> None:
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(f"the page needs {error.name}: run `./install.sh inspector` in lensscan's folder.") from None


def _count(session: Session) -> int:
    return len(session.grades.all_current())


def _planted(output: Place, folder: Path, wanted: Wanted) -> Planted:
    """What is planted in the folder of grades, with what was asked for now."""
    from pipeline.inspector.planted import load_planted, save_planted
    from pipeline.inspector.planted_read import read_planted

    if wanted.lenses or wanted.duds:
        save_planted(folder, read_planted(output, lenses=wanted.lenses, duds=wanted.duds))
    return load_planted(folder)


def _notes(output: Place, table: Any, more: bool, wanted: Wanted) -> list[str]:
    """What is missing from the catalogue as it is."""
    from pipeline.catalogue.query import query
    from pipeline.io import products

    fields, failed = products.listing(output), products.failures(output)
    waiting = [name for name in sorted({*fields, *failed}) if "candidates" not in fields.get(name, {})]
    notes = []
    if waiting:
        broken = f", {len(failed)} of them failed" if failed else ""
        notes.append(
            f"{len(waiting):,} of {len({*fields, *failed}):,} fields have no candidates yet{broken}; the page has "
            "those of the others. `lensscan status SCAN.toml` tells why; start the page again for more."
        )
    if more:
        notes.append(f"these are the best {len(table):,}; there are more: narrow them down with WHERE, or raise --top.")
    elif not wanted.copies and (left := len(query(output, wanted.where, columns=["objid"])) - len(table)):
        notes.append(f"{left:,} rows are copies of these in overlapping fields and are left out; --copies shows them.")
    lost = table["row"].null_count
    if lost:
        notes.append(
            f"the cutouts of {lost:,} candidates were not kept and have no picture; set cutouts.keep to "
            '"candidates" or "all" in the scan\'s config and run the scan again.'
        )
    return notes


def _maps(output: Place, scan_id: str, wanted: Wanted) -> MapSource:
    """Maps by the ensemble that scored a field; torch is loaded when the first one is asked for."""
    loaded: dict[str | None, Any] = {}

    def draw(field_id: str, stamp: Stamp) -> Maps:
        from pipeline.catalogue.explain import ensemble_of
        from pipeline.inspector.gallery import Maps
        from workflows.explain import ensemble_for, map_panels, saliency_panel

        named, _ = ensemble_of(output, field_id)
        if named not in loaded:
            loaded[named] = ensemble_for(wanted.scan, wanted.ensemble, named, scan_id)
        lens_light, artefacts = map_panels(stamp, loaded[named])
        return Maps(lens_light, artefacts, saliency_panel(stamp, loaded[named]))

    return draw


def _similar(output: Place) -> Similar:
    """Query by example among the candidates; a scan without embeddings says how to have them."""
    from pipeline.catalogue.similar import similar

    return lambda key: similar(output, key[1], field_id=key[0], top=LIKE, partial=True)
