"""Pools of stamps, as `lensscan simulate` writes them: which files they are, and what their labels say."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError
from pipeline.io.npz import UNREADABLE, Archive, open_archive


def matching(pattern: str) -> list[str]:
    """Files that a glob pattern matches, sorted; none where there is none."""
    return sorted(glob.glob(pattern, recursive=True))


def pools_of(patterns: Sequence[str]) -> list[str]:
    """Files that the patterns match (`**`: any depth), those of each pattern sorted.

    Raises
    ------
    ConfigError
        If a pattern matches none.
    """
    paths: list[str] = []
    for pattern in patterns:
        found = matching(pattern)
        if not found:
            raise ConfigError(f"no pool matches {pattern} (from {Path.cwd()}); write some with `lensscan simulate`.")
        paths += found
    return paths


@contextmanager
def opened_pool(path: str) -> Iterator[Archive]:
    """Open one pool; what is damaged in it, also while it is being read, is a ConfigError."""
    try:
        with open_archive(path) as archive:
            yield archive
    except UNREADABLE as error:
        raise ConfigError(
            f"{path}: not a pool of stamps ({error}); write it again with `lensscan simulate`."
        ) from error


def labels(archive: Archive, path: str) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.str_]]:
    """Whether each stamp of a pool is a lens, and its kind by name.

    Raises
    ------
    ConfigError
        For a label that is neither 0 nor 1, a kind without a name, or too few of either.
    """
    label = archive.whole("label")
    wrong = np.flatnonzero(~np.isin(label, (0, 1)))
    if label.ndim != 1 or label.dtype.kind not in "biuf" or wrong.size:
        value = label.reshape(-1)[wrong[0]] if wrong.size else f"of shape {label.shape}"
        raise ConfigError(f"{path}: label {value} is neither 0 nor 1; write the pool again.")
    lens = label.astype(np.bool_)
    kind = archive.whole("kind") if "kind" in archive.names else plain_kinds(lens)
    if kind.shape != lens.shape:
        raise ConfigError(
            f"{path}: kind has shape {kind.shape}, label {lens.shape}; they must match: write the pool again."
        )
    if np.issubdtype(kind.dtype, np.integer) and "kinds" in archive.names:
        names = archive.whole("kinds")
        if kind.size and not 0 <= kind.min() <= kind.max() < len(names):
            raise ConfigError(f"{path}: kind is {kind.min()} to {kind.max()}, but there are {len(names)} kinds.")
        kind = names[kind]
    return lens, kind.astype(np.str_)


def plain_kinds(lens: npt.NDArray[np.bool_]) -> npt.NDArray[np.str_]:
    """Kinds of stamps of which no more than the label is known."""
    return np.where(lens, "lens", "other")
