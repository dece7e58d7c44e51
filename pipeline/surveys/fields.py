"""The list of a survey's fields: from the names of its files, or from its own table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from pipeline.errors import BadSurveyData, ConfigError
from pipeline.field import Field
from pipeline.io.folders import Folder
from pipeline.surveys.description import Band, SurveyConfig
from pipeline.surveys.expressions import columns_of, evaluate
from pipeline.surveys.paths import check_root, discover, discover_by_pattern, is_wild, keys_of, render, resolve
from pipeline.surveys.tables import read_columns


@dataclass(frozen=True)
class FieldEntry:
    """A field with what found it: its keys for templates, and its row of the field table if there is one."""

    field: Field
    keys: Mapping[str, str]
    row: Mapping[str, Any]


def list_fields(description: SurveyConfig, folder: Folder, where: str) -> dict[str, FieldEntry]:
    """Every field of a survey, by id, sorted; no pixel and no header is read.

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
    found = _from_table(description, folder) if description.fields.table else _from_names(description, folder)
    if not found:
        looked = description.fields.table or description.fields.glob or " or ".join(description.planes.image.path)
        raise BadSurveyData(
            f"{where}: no field found; nothing below {folder.root} fits {looked!r}. Check root and path."
        )
    entries = {}
    for field_id in sorted(found):
        keys, row, files = found[field_id]
        entries[field_id] = FieldEntry(_field(description, folder, field_id, keys, files), keys, row)
    return entries


_Found = dict[str, tuple[dict[str, str], dict[str, Any], dict[str, str] | None]]
"""field_id -> keys, row of the table, and token -> path of the images found (None: not looked for)."""


def _from_names(description: SurveyConfig, folder: Folder) -> _Found:
    config = description.fields
    found: _Found = {}
    if config.glob is not None and config.pattern is not None:
        for keys, _ in discover_by_pattern(folder, config.glob, config.pattern):
            found.setdefault(_field_id(description, keys), (keys, {}, None))
        return found
    templates = [*description.planes.image.path]
    for band in description.bands.values():
        override = band.planes.get("image")
        templates += [path for path in override.path if path not in templates] if override else []
    for template in templates:
        tokens = [token for name, band in description.bands.items() for token in _tokens(template, name, band)]
        for keys, token, path in discover(folder, [template], tokens, config.keys):
            field_id = _field_id(description, keys)
            known = found.setdefault(field_id, (keys, {}, {}))
            files = known[2]
            if files is not None and not is_wild(template):
                files.setdefault(token, path)
    return found


def _from_table(description: SurveyConfig, folder: Folder) -> _Found:
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
    for index in np.flatnonzero(keep):
        keys = {key: _text(columns[column][index]) for key, column in config.columns.items()}
        row = {name: columns[name][index] for name in names}
        field_id = _field_id(description, keys)
        if field_id in found:
            raise BadSurveyData(f"{path}: field {field_id!r} stands there twice; mend the table or fields.id.")
        found[field_id] = (keys, row, None)
    return found


def _field(
    description: SurveyConfig, folder: Folder, field_id: str, keys: Mapping[str, str], files: Mapping[str, str] | None
) -> Field:
    planes: dict[str, Mapping[str, str]] = {}
    there = None if files is None else {PurePosixPath(path).as_posix() for path in files.values()}
    for name, band in description.bands.items():
        native = _native_present(description, folder, field_id, keys, there, name, band)
        if native is None and description.fields.missing_band == "empty":
            continue
        filled = {**keys, "field_id": field_id, "band": name, "native": native or band.native[0]}
        filled["token"] = band.token or filled["native"]
        planes[name] = _paths(description, folder, band, filled)
    catalogue = None
    if description.catalogue is not None and description.catalogue.kind == "field":
        catalogue = resolve(folder, description.catalogue.path, {**keys, "field_id": field_id})
    return Field(description.name, description.release, field_id, planes, catalogue)


def _paths(description: SurveyConfig, folder: Folder, band: Band, keys: Mapping[str, str]) -> dict[str, str]:
    image_templates = image_path(description, band)
    paths = {}
    for plane, config in description.planes.present().items():
        override = band.planes.get(plane)  # type: ignore[call-overload]
        templates = (override.path if override else ()) or config.path or image_templates
        paths[plane] = resolve(folder, templates, keys)
    return paths


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
        filled = {**keys, "field_id": field_id, "band": name, "native": native, "token": band.token or native}
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
