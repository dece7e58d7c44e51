"""Objects of a store for pyarrow's datasets: opened by ranges, through the one client of the process.

pyarrow has an S3 client of its own. It would be a second set of credentials, timeouts and retries, and would not see
that an answer was cut short in the way that the rest of a scan does.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.fs as pa_fs

from pipeline.io.object_file import ObjectFile
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import Place

FIRST = 256 << 10
"""Bytes that opening a table fetches: most fields' candidates are smaller, so that one request is enough."""


def file_system(where: Place) -> Any:
    """The file system of a place; `name_in` says what a file is called in it."""
    return pa_fs.PyFileSystem(_Objects()) if isinstance(where, ObjectPath) else pa_fs.LocalFileSystem()


def name_in(path: Place) -> str:
    """What a file is called in its file system."""
    return f"{path.bucket}/{path.key}" if isinstance(path, ObjectPath) else str(path)


class _Objects(pa_fs.FileSystemHandler):  # type: ignore[misc]
    """Reading alone; a name is `bucket/key`."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Objects)

    def __hash__(self) -> int:
        return hash(_Objects)

    def get_type_name(self) -> str:
        return "s3"

    def normalize_path(self, path: str) -> str:
        return path

    def open_input_file(self, path: str) -> Any:
        return pa.PythonFile(ObjectFile(_named(path), FIRST), mode="r")

    def open_input_stream(self, path: str) -> Any:
        return self.open_input_file(path)

    def get_file_info(self, paths: list[str]) -> list[Any]:
        return [self._info(path) for path in paths]

    def _info(self, path: str) -> Any:
        try:
            info = _named(path).info()
        except FileNotFoundError:
            return pa_fs.FileInfo(path, pa_fs.FileType.NotFound)
        return pa_fs.FileInfo(path, pa_fs.FileType.File, size=info.size, mtime=info.modified)

    def get_file_info_selector(self, selector: Any) -> list[Any]:
        raise NotImplementedError("files are named, not looked for")

    def create_dir(self, path: str, recursive: bool) -> None:
        raise NotImplementedError("read only")

    delete_dir = delete_dir_contents = delete_root_dir_contents = delete_file = create_dir
    move = copy_file = open_output_stream = open_append_stream = create_dir


def _named(name: str) -> ObjectPath:
    bucket, _, key = name.partition("/")
    return ObjectPath(bucket, key)
