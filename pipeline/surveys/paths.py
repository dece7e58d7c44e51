"""Path templates, read in both directions: keys of a field to a path, and paths on disk to fields."""

from __future__ import annotations

import glob
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath

from pipeline.errors import BadSurveyData, ConfigError
from pipeline.io.folders import Folder, folder_of
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import place

_BAND_KEYS = ("native", "band", "token")
_WILD = re.compile(r"[*?]")
_ODD = re.compile(r"//|(^|/)\.(/|$)|^/|/$")
"""What `PurePosixPath` leaves out of a name, or takes for an absolute path."""


def render(template: str, keys: Mapping[str, str], *, as_glob: bool = False) -> str:
    """A template with its keys filled in.

    Parameters
    ----------
    template : str
    keys : mapping
        Texts; a format such as `{run:06d}` turns one into a number first.
    as_glob : bool
        Escape the values, so that only the template's own `*` and `?` stay wild.

    Raises
    ------
    ConfigError
        For a key that is not there or does not take its format.
    """
    if not as_glob and _is_plain(template):
        try:
            return template.format_map(keys)
        except (KeyError, ValueError):
            pass  # the long way says what is wrong
    parts = []
    for literal, key, spec, _ in _pieces(template):
        parts.append(_escape_literal(literal) if as_glob else literal)
        if key is None:
            continue
        if key not in keys:
            raise ConfigError(f"path {template!r}: no key {{{key}}}; there are {', '.join(sorted(keys))}.")
        try:
            value = _formatted(keys[key], spec or "")
        except ValueError as error:
            raise ConfigError(f"path {template!r}: {keys[key]!r} does not fit {{{key}:{spec}}} ({error}).") from error
        parts.append(glob.escape(value) if as_glob else value)
    return "".join(parts)


def keys_of(template: str) -> list[str]:
    """Names of a template's keys, each once, in order."""
    return list(dict.fromkeys(key for _, key, _, _ in _pieces(template) if key is not None))


@cache
def is_wild(template: str) -> bool:
    """Whether a template leaves something to `*` or `?`."""
    return any(_WILD.search(literal) for literal, _, _, _ in _pieces(template))


def resolve(folder: Folder, templates: Sequence[str], keys: Mapping[str, str]) -> str:
    """The path that templates mean for one field, plane and band.

    The first template whose file exists counts; where none does, the first one's path (or pattern) is given back,
    for whoever opens it to name in the error.
    """
    for template in templates:
        if is_wild(template):
            found = folder.glob(render(template, keys, as_glob=True))
            if len(found) == 1:
                return _below(folder, found[0])
        elif len(templates) == 1 or folder.is_file(render(template, keys)):
            return _below(folder, render(template, keys))
    return _below(folder, render(templates[0], keys))


def posix(name: str) -> str:
    """A name below a folder as `PurePosixPath` writes it, which is only asked where it would change something.

    Making such a path takes microseconds, and its parts stay in the interpreter's memory.
    """
    return PurePosixPath(name).as_posix() if _ODD.search(name) or not name else name


def why_missing(path: str) -> str:
    """What is wrong with a path that is no file, for an error message."""
    if _WILD.search(path):
        where = place(path)
        found = (
            folder_of(ObjectPath(where.bucket, "")).glob(where.key)
            if isinstance(where, ObjectPath)
            else sorted(glob.glob(path))
        )
        if len(found) > 1:
            return f"{path}: {len(found)} files match ({', '.join(Path(name).name for name in found[:3])}); one may"
        return f"{path}: no file matches"
    return f"{path}: no such file"


def discover(
    folder: Folder, templates: Sequence[str], natives: Sequence[str], key_patterns: Mapping[str, str]
) -> Iterator[tuple[dict[str, str], str, str]]:
    """Every file that an image template finds: its keys, its band's token, its path below the root.

    The token is "" where the template has none of `{native}`, `{band}`, `{token}`. Only names are read.
    """
    for template in templates:
        pattern = re.compile(_regex(template, natives, key_patterns))
        for name in folder.glob(_loose(template)):
            match = pattern.fullmatch(posix(name))
            if match is None:
                continue
            groups = {key: value for key, value in match.groupdict().items() if value is not None}
            token = groups.pop("_token", "")
            known = {**groups, "native": token, "band": token, "token": token}
            if is_wild(template) or render(template, known) == posix(name):
                yield groups, token, name


def discover_by_pattern(folder: Folder, wild: str, pattern: str) -> Iterator[tuple[dict[str, str], str]]:
    """Every file below the root that a glob finds and a pattern matches: the pattern's groups and its path.

    Raises
    ------
    BadSurveyData
        If the root is not a folder.
    """
    compiled = re.compile(pattern)
    for name in folder.glob(wild, recursive=True):
        match = compiled.fullmatch(posix(name))
        if match is not None:
            yield {key: value for key, value in match.groupdict().items() if value is not None}, name


def check_root(folder: Folder, where: str) -> None:
    """Raise BadSurveyData if a survey's root is not a folder."""
    if not folder.is_dir():
        raise BadSurveyData(f"{where}: root {folder.root} is not a folder; mend `root` or mount the data.")


@cache
def _pieces(template: str) -> tuple[tuple[str, str | None, str | None, str | None], ...]:
    try:
        return tuple(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigError(f"path {template!r}: {error}; write {{{{ for a brace.") from error


@cache
def _is_plain(template: str) -> bool:
    """Whether Python's own formatting, several times faster, fills a template in: keys are texts and stay so."""
    return all(
        key is None or (key.isidentifier() and conversion is None and not re.search("[d{]", spec or ""))
        for _, key, spec, conversion in _pieces(template)
    )


def _below(folder: Folder, name: str) -> str:
    """The path of a name below a folder."""
    return str(folder.root / name) if _ODD.search(name) or not name else f"{folder.root}/{name}"


def _formatted(value: str, spec: str) -> str:
    return format(int(value), spec) if spec.endswith("d") else format(value, spec)


def _escape_literal(literal: str) -> str:
    return literal.replace("[", "[[]")


def _loose(template: str) -> str:
    """A glob that finds at least what the template means."""
    parts = []
    for literal, key, _, _ in _pieces(template):
        parts.append(_escape_literal(literal))
        if key is not None:
            parts.append("*")
    return "".join(parts)


def _regex(template: str, natives: Sequence[str], key_patterns: Mapping[str, str]) -> str:
    """A regular expression whose groups are the template's keys; the band's token is the group `_token`."""
    parts = []
    seen: set[str] = set()
    for literal, key, spec, _ in _pieces(template):
        parts.append(re.escape(literal).replace(r"\*", "[^/]*").replace(r"\?", "[^/]"))
        if key is None:
            continue
        name = "_token" if key in _BAND_KEYS else key
        if spec:
            # A formatted key is not the key itself; rendering checks it afterwards.
            parts.append(f"(?P<{name}>[^/]*?)" if _only_formatted(template, key) and name not in seen else "[^/]*?")
            if _only_formatted(template, key):
                seen.add(name)
        elif name in seen:
            parts.append(f"(?P={name})")
        else:
            seen.add(name)
            values = sorted(natives, key=len, reverse=True)
            inner = "|".join(map(re.escape, values)) if name == "_token" else key_patterns.get(key, "[^/]+")
            parts.append(f"(?P<{name}>{inner})")
    return "".join(parts)


def _only_formatted(template: str, key: str) -> bool:
    return all(spec for _, name, spec, _ in _pieces(template) if name == key)
