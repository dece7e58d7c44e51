"""The server's addresses: the page's own files, the catalogue, pictures, grades, exports.

Everything that a person wrote goes out as JSON or as a picture; the page puts it into text and never into markup.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import LensscanError, NotSaved
from pipeline.inspector.guard import Access, Guard
from pipeline.inspector.looks import STRETCHES, Look
from pipeline.inspector.session import Session
from pipeline.inspector.statistics import export, statistics

Bands = Annotated[str, Query(max_length=64)]
Where = Annotated[str | None, Query(max_length=8000)]

MOST_ON_A_SHEET = 200
"""Objects in one picture of the mosaic."""

_KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_FRESH = {"cache-control": "no-store"}
_KEPT = {"cache-control": "private, max-age=86400, immutable"}


class GradeRequest(BaseModel):
    """A grade that the page sends; None is a comment alone."""

    model_config = ConfigDict(extra="forbid", strict=True)

    grader: str = Field(max_length=200)
    object: str = Field(max_length=64)
    grade: Literal["A", "B", "C", "X"] | None
    comment: str = Field(default="", max_length=4000)
    once: str = Field(min_length=1, max_length=64)


class StepRequest(BaseModel):
    """An undo or redo that the page sends."""

    model_config = ConfigDict(extra="forbid", strict=True)

    grader: str = Field(max_length=200)
    once: str = Field(min_length=1, max_length=64)


def make_app(session: Session, access: Access) -> Any:
    """The ASGI application of a session, guarded."""
    app = FastAPI(title="lensscan inspect", docs_url=None, redoc_url=None, openapi_url=None)
    _errors(app)
    _page(app)
    _catalogue(app, session)
    _pictures(app, session)
    _grades(app, session)
    _results(app, session)
    return Guard(app, access)


def static_files() -> dict[str, bytes]:
    """The page's own files by their path, such as `js/main.js`: all that is served from disk, read once."""
    root = files("pipeline.inspector").joinpath("static")
    found: dict[str, bytes] = {}
    folders = [("", root)]
    while folders:
        prefix, folder = folders.pop()
        for entry in folder.iterdir():
            if entry.is_dir():
                folders.append((f"{prefix}{entry.name}/", entry))
            elif entry.name.rpartition(".")[2] in _KINDS:
                found[prefix + entry.name] = entry.read_bytes()
    return found


def _errors(app: FastAPI) -> None:
    @app.exception_handler(LensscanError)
    def refused(request: Request, error: LensscanError) -> JSONResponse:
        # What could not be saved is kept in the page and sent again; what is refused is not.
        return JSONResponse({"detail": str(error)}, 503 if isinstance(error, NotSaved) else 422, _FRESH)

    @app.exception_handler(RequestValidationError)
    def misshapen(request: Request, error: RequestValidationError) -> JSONResponse:
        said = "; ".join(f"{'.'.join(map(str, part['loc'][1:]))}: {part['msg']}" for part in error.errors())
        return JSONResponse({"detail": said}, 422, _FRESH)

    @app.exception_handler(OSError)
    def failed(request: Request, error: OSError) -> JSONResponse:
        return JSONResponse({"detail": f"the system failed us: {error}"}, 503, _FRESH)


def _page(app: FastAPI) -> None:
    held = static_files()

    @app.get("/")
    def index() -> Response:
        return Response(held["index.html"], media_type="text/html", headers={"cache-control": "no-cache"})

    @app.get("/static/{name:path}")
    def static(name: str) -> Response:
        if name not in held:
            raise HTTPException(404, "the page has no such file.")
        kind = _KINDS[name.rpartition(".")[2]]
        return Response(held[name], media_type=kind, headers={"cache-control": "no-cache"})


def _catalogue(app: FastAPI, session: Session) -> None:
    @app.get("/api/start")
    def start() -> Response:
        return _json(session.start())

    @app.get("/api/stream")
    def stream(
        grader: str = "",
        blind: bool = True,
        where: Where = None,
        sort: str | None = None,
        descending: bool = True,
    ) -> Response:
        return _json(session.stream(grader, blind=blind, where=where, sort=sort, descending=descending))

    @app.get("/api/object/{name}")
    def facts(name: str, blind: bool = True) -> Response:
        found = session.facts(_number(session, name), blind=blind)
        if found is None:
            raise HTTPException(404, "the object is not in the catalogue.")
        return _json(found)

    @app.get("/api/others/{name}")
    def others(name: str) -> Response:
        return _json(session.others(_number(session, name)))

    @app.get("/api/similar/{name}")
    def similar(name: str) -> Response:
        number = _number(session, name)
        if session.objects.keys[number] not in session.objects.rows:
            raise HTTPException(404, "the object is not in the catalogue.")
        found = session.like(number)
        if found is None:
            raise HTTPException(404, "the scan stored no embeddings to compare by.")
        return _json(found)


def _pictures(app: FastAPI, session: Session) -> None:
    gallery = session.gallery

    @app.get("/picture/sheet")
    def sheet(v: str, n: str, bands: Bands = "", stretch: str = "normal", outlines: bool = False) -> Response:
        look = _look(session, v, bands, stretch)
        made, stays = gallery.sheet(_numbers(session, n), look, outlines=outlines)
        return _picture(made, "image/jpeg", stays=stays)

    @app.get("/picture/stamp")
    def stamp(v: str, n: str, bands: Bands = "", stretch: str = "normal") -> Response:
        look = _look(session, v, bands, stretch)
        return _picture(gallery.single(_numbers(session, n)[0], look), "image/png")

    @app.get("/picture/strip")
    def strip(v: str, n: str, stretch: str = "normal") -> Response:
        look = _look(session, v, "", stretch)
        return _picture(gallery.strip(_numbers(session, n)[0], look.stretch), "image/jpeg")

    @app.get("/picture/flags")
    def flags(v: str, n: str) -> Response:
        _look(session, v, "", "normal")
        return _picture(gallery.flags(_numbers(session, n)[0]), "image/png")

    @app.get("/picture/map")
    def drawn(v: str, n: str, kind: Literal["lens_light", "artefacts", "saliency"]) -> Response:
        _look(session, v, "", "normal")
        return _picture(gallery.map(_numbers(session, n)[0], kind), "image/png")


def _grades(app: FastAPI, session: Session) -> None:
    grades = session.grades

    @app.get("/api/grades")
    def own(grader: str) -> Response:
        name = grades.known_as(grader)
        return _json({"version": session.version, "grader": name, "grades": session.grades_of(name)})

    @app.post("/api/grade")
    def grade(asked: GradeRequest) -> Response:
        key = session.objects.keys[_number(session, asked.object)]
        grades.grade(asked.grader, *key, asked.grade, asked.comment, once=asked.once)
        return _json(session.grade_facts(grades.get(asked.grader, *key), key))

    @app.post("/api/undo")
    def undo(asked: StepRequest) -> Response:
        back = grades.undo(asked.grader, once=asked.once)
        return _json(None if back is None else session.grade_facts(grades.get(asked.grader, *back.key), back.key))

    @app.post("/api/redo")
    def redo(asked: StepRequest) -> Response:
        again = grades.redo(asked.grader, once=asked.once)
        return _json(None if again is None else session.grade_facts(grades.get(asked.grader, *again.key), again.key))


def _results(app: FastAPI, session: Session) -> None:
    @app.get("/api/statistics")
    def said(blind: bool = True) -> Response:
        return _json(statistics(session, blind=blind))

    @app.get("/export/grades.{form}")
    def exported(form: Literal["csv", "parquet"]) -> Response:
        kind = "text/csv; charset=utf-8" if form == "csv" else "application/vnd.apache.parquet"
        name = f"grades-{quote(session.grades.identity.scan_id, safe='')}.{form}"
        headers = {"content-disposition": f'attachment; filename="{name}"', **_FRESH}
        return Response(export(session, form), media_type=kind, headers=headers)


def _json(values: Mapping[str, Any] | None) -> Response:
    text = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text, media_type="application/json", headers=_FRESH)


def _picture(data: bytes | None, kind: str, *, stays: bool = True) -> Response:
    if data is None:
        raise HTTPException(404, "there is no such picture: the cutout was not kept, or has no such map.")
    return Response(data, media_type=kind, headers=_KEPT if stays else _FRESH)


def _look(session: Session, version: str, bands: str, stretch: str) -> Look:
    """The look asked for; a page that was opened over another catalogue is told to load itself again."""
    if version != session.version:
        raise HTTPException(409, "the catalogue has changed; load the page again.")
    usual = session.gallery.combinations[0] if session.gallery.combinations else ""
    if stretch not in STRETCHES or (bands and bands not in session.gallery.combinations):
        raise HTTPException(422, f"bands {bands!r} in stretch {stretch!r}: no such look.")
    return Look(bands or usual, stretch)


def _number(session: Session, name: str) -> int:
    number = session.objects.number(name)
    if number is None:
        raise HTTPException(404, f"there is no object {name!r}.")
    return number


def _numbers(session: Session, text: str) -> list[int]:
    parts = text.split(",")
    if len(parts) > MOST_ON_A_SHEET or not all(
        part.isascii() and part.isdecimal() and len(part) < 10 for part in parts
    ):
        raise HTTPException(422, f"n: give 1 to {MOST_ON_A_SHEET} numbers, separated by commas.")
    numbers = [int(part) for part in parts]
    if max(numbers) >= len(session.objects):
        raise HTTPException(404, f"there is no object {max(numbers)}.")
    return numbers
