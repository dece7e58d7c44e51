"""The list of a survey's fields: from the names of its files, or from its own table."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from pipeline.errors import BadSurveyData, ConfigError
from pipeline.field import Field
from pipeline.io.folders import Folder
from pipeline.surveys.description import Band, SurveyConfig
from pipeline.surveys.expressions import columns_of, evaluate
from pipeline.surveys.paths import check_root, discover, discover_by_pattern, is_wild, keys_of, posix, render, resolve
from pipeline.surveys.tables import read_columns


@dataclass(frozen=True)
class _Layout:
    """What fields have in common: the names of their keys, and for each band its native name and its planes' templates.

    A plane without a template is one whose path a template does not tell, since it leaves something open; so is, with
    `has_catalogue`, a catalogue.
    """

    keys: tuple[str, ...]
    bands: tuple[tuple[str, str, tuple[tuple[str, str | None], ...]], ...]
    has_catalogue: bool
    catalogue: str | None


class FieldList(Sequence[Field]):
    """Every field of a survey, sorted by id; a `Field` with its paths is put together whenever it is asked for.

    Fields are many and paths long, but nearly all follow from a few keys and the templates that all fields share. So a
    field is kept as its keys, at a hundred bytes or two; only paths with `*` or `?` in their templates are kept whole.

    Attributes
    ----------
    ids : list of str
        Of the fields, in order.
    """

    def __init__(self, description: SurveyConfig, folder: Folder, found: _Found, table: _Columns) -> None:
        self._description = description
        self._root = str(folder.root)
        self._table = table
        self.ids = sorted(found)
        self._values: list[tuple[str, ...]] = []
        self._layouts: list[_Layout] = []
        self._paths: list[tuple[str, ...]] = []
        self._rows = np.array([found[field_id].row for field_id in self.ids], np.int32)
        same: dict[_Layout, _Layout] = {}
        for field_id in self.ids:
            seen = found.pop(field_id)
            layout, paths = _laid_out(description, folder, field_id, seen)
            self._values.append(seen.values)
            self._layouts.append(same.setdefault(layout, layout))
            self._paths.append(paths)

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, number: int) -> Field: ...
    @overload
    def __getitem__(self, number: slice) -> list[Field]: ...
    def __getitem__(self, number: int | slice) -> Field | list[Field]:
        """One field by its number, or several."""
        if isinstance(number, slice):
            return [self._field(one) for one in range(len(self))[number]]
        return self._field(number)

    def number(self, field_id: str) -> int | None:
        """Where a field stands, None if there is none of this id."""
        place = bisect_left(self.ids, field_id)
        return place if place < len(self.ids) and self.ids[place] == field_id else None

    def row(self, field_id: str) -> Mapping[str, Any]:
        """A field's row of the field table; empty without one."""
        number = self.number(field_id)
        return {} if number is None else {name: column[self._rows[number]] for name, column in self._table.items()}

    def _field(self, number: int) -> Field:
        field_id, layout, paths = self.ids[number], self._layouts[number], iter(self._paths[number])
        keys = dict(zip(layout.keys, self._values[number], strict=True))

        def path(template: str | None, keys: Mapping[str, str]) -> str:
            return next(paths) if template is None else f"{self._root}/{render(template, keys)}"

        planes = {
            name: {plane: path(template, filled) for plane, template in templates}
            for name, native, templates in layout.bands
            for filled in (_filled(keys, field_id, name, native, self._description.bands[name]),)
        }
        catalogue = path(layout.catalogue, {**keys, "field_id": field_id}) if layout.has_catalogue else None
        return Field(self._description.name, self._description.release, field_id, planes, catalogue)


def list_fields(description: SurveyConfig, folder: Folder, where: str) -> FieldList:
    """Every field of a survey; no pixel and no header is read.

    Parameters
    ----------
    description : SurveyConfig
    folder : Folder
        Its root.
    where : str
        The survey's TOML, for messages.

    Raises
    ------
    BadSurveyData
        If the root is not there or nothing is found below it, or if the field table is unusable.
    """
    check_root(folder, where)
    found, table = _from_table(description, folder) if description.fields.table else _from_names(description, folder)
    if not found:
        looked = description.fields.table or description.fields.glob or " or ".join(description.planes.image.path)
        raise BadSurveyData(
            f"{where}: no field found; nothing below {folder.root} fits {looked!r}. Check root and path."
        )
    return FieldList(description, folder, found, table)


@dataclass(slots=True)
class _Seen:
    """What is found of a field: its keys and their values, its row of the table, and the paths of its images.

    `paths` is None where images are not looked for yet.
    """

    keys: tuple[str, ...]
    values: tuple[str, ...]
    row: int = 0
    paths: tuple[str, ...] | None = None


_Found = dict[str, _Seen]
_Columns = Mapping[str, npt.NDArray[Any]]
"""The field table, by the names of its columns; empty without one."""


class _Texts:
    """Keys and values, of which many fields have the same, each kept once."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}

    def seen(self, keys: Mapping[str, str], row: int = 0, paths: tuple[str, ...] | None = None) -> _Seen:
        """A field that is found."""
        names = self._known.setdefault(tuple(keys), tuple(keys))
        return _Seen(names, tuple(self._known.setdefault(value, value) for value in keys.values()), row, paths)


def _from_names(description: SurveyConfig, folder: Folder) -> tuple[_Found, _Columns]:
    config = description.fields
    found: _Found = {}
    texts = _Texts()
    if config.glob is not None and config.pattern is not None:
        for keys, _ in discover_by_pattern(folder, config.glob, config.pattern):
            found.setdefault(_field_id(description, keys), texts.seen(keys))
        return found, {}
    templates = [*description.planes.image.path]
    for band in description.bands.values():
        override = band.planes.get("image")
        templates += [path for path in override.path if path not in templates] if override else []
    for template in templates:
        tokens = [token for name, band in description.bands.items() for token in _tokens(template, name, band)]
        for keys, _, path in discover(folder, [template], tokens, config.keys):
            field_id = _field_id(description, keys)
            known = found.get(field_id) or found.setdefault(field_id, texts.seen(keys, paths=()))
            if known.paths is not None and not is_wild(template):
                known.paths += (posix(path),)
    return found, {}


def _from_table(description: SurveyConfig, folder: Folder) -> tuple[_Found, _Columns]:
    config = description.fields
    path = folder.root / str(config.table)
    meta = [item.column for item in description.meta.values() if item.column is not None]
    wanted = [
        render(column, {"native": native}) if "{" in column else column
        for column in meta
        for band in description.bands.values()
        for native in band.native[:1]
    ]
    filters = columns_of(config.where) if config.where else []
    names = list(dict.fromkeys([*config.columns.values(), *wanted, *filters]))
    columns = read_columns(str(path), names, config.table_hdu)
    length = len(next(iter(columns.values())))
    keep = np.ones(length, bool) if config.where is None else np.asarray(evaluate(config.where, columns), bool)
    found: _Found = {}
    texts = _Texts()
    for index in np.flatnonzero(keep):
        keys = {key: _text(columns[column][index]) for key, column in config.columns.items()}
        field_id = _field_id(description, keys)
        if field_id in found:
            raise BadSurveyData(f"{path}: field {field_id!r} stands there twice; mend the table or fields.id.")
        found[field_id] = texts.seen(keys, int(index))
    return found, {name: columns[name] for name in names}


def _laid_out(description: SurveyConfig, folder: Folder, field_id: str, seen: _Seen) -> tuple[_Layout, tuple[str, ...]]:
    """A field's layout, and the paths that no template tells."""
    keys = dict(zip(seen.keys, seen.values, strict=True))
    there = None if seen.paths is None else set(seen.paths)
    apart: list[str] = []

    def template_of(templates: Sequence[str], filled: Mapping[str, str]) -> str | None:
        path = resolve(folder, templates, filled)
        for template in templates:
            if not is_wild(template) and f"{folder.root}/{render(template, filled)}" == path:
                return template
        apart.append(path)
        return None

    bands = []
    for name, band in description.bands.items():
        native = _native_present(description, folder, field_id, keys, there, name, band)
        if native is None and description.fields.missing_band == "empty":
            continue
        native = native or band.native[0]
        filled = _filled(keys, field_id, name, native, band)
        planes = tuple(
            (plane, template_of(templates, filled)) for plane, templates in _plane_templates(description, band)
        )
        bands.append((name, native, planes))
    catalogue = None
    has_catalogue = description.catalogue is not None and description.catalogue.kind == "field"
    if description.catalogue is not None and has_catalogue:
        catalogue = template_of(description.catalogue.path, {**keys, "field_id": field_id})
    return _Layout(seen.keys, tuple(bands), has_catalogue, catalogue), tuple(apart)


def _filled(keys: Mapping[str, str], field_id: str, name: str, native: str, band: Band) -> dict[str, str]:
    """A field's keys with those of one of its bands."""
    return {**keys, "field_id": field_id, "band": name, "native": native, "token": band.token or native}


def _plane_templates(description: SurveyConfig, band: Band) -> Iterator[tuple[str, Sequence[str]]]:
    """Each plane of a band with the templates of its path, that of the image where it has none of its own."""
    for plane, config in description.planes.present().items():
        override = band.planes.get(plane)  # type: ignore[call-overload]
        yield plane, (override.path if override else ()) or config.path or image_path(description, band)


def image_path(description: SurveyConfig, band: Band) -> tuple[str, ...]:
    """Templates of a band's image."""
    override = band.planes.get("image")
    return (override.path if override else ()) or description.planes.image.path


def _native_present(
    description: SurveyConfig,
    folder: Folder,
    field_id: str,
    keys: Mapping[str, str],
    there: Set[str] | None,
    name: str,
    band: Band,
) -> str | None:
    """The first native name of a band that has an image file, None if none has."""
    templates = image_path(description, band)
    for native in band.native:
        filled = _filled(keys, field_id, name, native, band)
        if there is not None and not any(is_wild(template) for template in templates):
            if any(render(template, filled) in there for template in templates):
                return native
        elif folder.is_file(resolve(folder, templates, filled).removeprefix(f"{folder.root}/")):
            return native
    return None


def _tokens(template: str, name: str, band: Band) -> Sequence[str]:
    used = keys_of(template)
    if "token" in used and band.token is not None:
        return [band.token]
    return [name] if "band" in used else list(band.native)


def _field_id(description: SurveyConfig, keys: Mapping[str, str]) -> str:
    try:
        return render(description.fields.id, keys)
    except ConfigError as error:
        raise ConfigError(f"fields.id: {error}") from error


def _text(value: Any) -> str:
    return str(value.decode() if isinstance(value, bytes) else value).strip()
