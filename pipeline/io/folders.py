"""What files a folder holds, by names below it: asked of the disk, or of listings of an object store.

Names are relative to the folder, with `/` between their parts. A store is asked for a whole folder at a time and its
answers are kept, so that a survey of many files costs one request a thousand files and not one a file. The kept
answers are as old as the first question.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from pipeline import provenance
from pipeline.io import objects
from pipeline.io.object_path import SCHEME, ObjectPath
from pipeline.io.places import Place, file_identity, identity_of

_WILD = re.compile(r"[*?\[]")


class Folder(Protocol):
    """A folder and what is below it."""

    @property
    def root(self) -> Place:
        """Where it is."""
        ...

    def is_dir(self) -> bool:
        """Whether it is there."""
        ...

    def is_file(self, name: str) -> bool:
        """Whether it holds a file of this name."""
        ...

    def glob(self, pattern: str, *, recursive: bool = False) -> list[str]:
        """Names that a pattern fits, sorted; see `glob.glob`."""
        ...

    def identity(self, path: str) -> list[str | int]:
        """What makes a file, here or elsewhere, the same file; see `file_identity`."""
        ...


def folder_of(root: Place) -> Folder:
    """The folder at a place."""
    return ObjectFolder(root) if isinstance(root, ObjectPath) else LocalFolder(root)


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self.root.is_dir()

    def is_file(self, name: str) -> bool:
        """Whether it holds a file of this name."""
        return (self.root / name).is_file()

    def glob(self, pattern: str, *, recursive: bool = False) -> list[str]:
        """Names that a pattern fits, sorted."""
        return sorted(glob.glob(pattern, root_dir=self.root, recursive=recursive))

    def identity(self, path: str) -> list[str | int]:
        """Path, size and time of a file."""
        return provenance.file_identity(path)


class ObjectFolder:
    """A prefix of an object store."""

    def __init__(self, root: ObjectPath) -> None:
        self.root = root
        self._trees: dict[str, Mapping[str, objects.ObjectInfo]] = {}
        self._levels: dict[str, Mapping[str, objects.ObjectInfo]] = {}

    def is_dir(self) -> bool:
        """Whether anything is below it."""
        return self.root.is_dir()

    def is_file(self, name: str) -> bool:
        """Whether there is such an object."""
        return self._info(name) is not None

    def glob(self, pattern: str, *, recursive: bool = False) -> list[str]:
        """Names of objects that a pattern fits, sorted; of what the pattern says literally, no more is listed."""
        literal = _WILD.split(pattern, maxsplit=1)[0]
        if literal == pattern:
            return [pattern] if self.is_file(pattern) else []
        wanted = pattern.split("/")
        return [name for name in self._tree(literal.rpartition("/")[0]) if _fits(name.split("/"), wanted, recursive)]

    def identity(self, path: str) -> list[str | int]:
        """Path, size and ETag of an object."""
        below = f"{self.root}/"
        if not path.startswith(SCHEME) or not path.startswith(below):
            return file_identity(path)
        return identity_of(path, self._info(path.removeprefix(below)))

    def _info(self, name: str) -> objects.ObjectInfo | None:
        folder = name.rpartition("/")[0]
        if _WILD.search(name) or ".." in name.split("/"):
            return None
        for prefix, tree in self._trees.items():
            if not prefix or f"{folder}/".startswith(f"{prefix}/"):
                return tree.get(name)
        if folder not in self._levels:
            place = self.root / folder
            self._levels[folder] = self._named(objects.children(place.bucket, place.key)[1])
        return self._levels[folder].get(name)

    def _tree(self, prefix: str) -> Mapping[str, objects.ObjectInfo]:
        if prefix not in self._trees:
            place = self.root / prefix
            self._trees[prefix] = self._named(objects.below(place.bucket, place.key))
        return self._trees[prefix]

    def _named(self, found: list[tuple[str, objects.ObjectInfo]]) -> Mapping[str, objects.ObjectInfo]:
        start = f"{self.root.key}/" if self.root.key else ""
        return {key.removeprefix(start): info for key, info in found}


def _fits(parts: list[str], wanted: list[str], recursive: bool) -> bool:
    """Whether the parts of a name fit those of a pattern; as on disk, a wild start finds no hidden file."""
    if not wanted:
        return not parts
    if recursive and wanted[0] == "**":
        return any(
            _fits(parts[skipped:], wanted[1:], recursive)
            for skipped in range(len(parts) + 1)
            if not any(part.startswith(".") for part in parts[:skipped])
        )
    if not parts or (parts[0].startswith(".") and not wanted[0].startswith(".")):
        return False
    return fnmatchcase(parts[0], wanted[0]) and _fits(parts[1:], wanted[1:], recursive)
