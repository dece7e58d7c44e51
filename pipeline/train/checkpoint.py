"""Everything that a run needs to go on as if it had never stopped, in one file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from pipeline.errors import ProductMismatch

_TOLD = 3
"""Differences that are named."""


@dataclass(frozen=True)
class Identity:
    """Whose checkpoint it is.

    Attributes
    ----------
    science : mapping
        The configuration without what only decides where and how fast it runs.
    pools : mapping
        Digest of each set of stamps, by name.
    """

    science: Mapping[str, Any]
    pools: Mapping[str, str]


def write_checkpoint(path: Path, identity: Identity, parts: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all.

    Parameters
    ----------
    path : Path
    identity : Identity
    parts : mapping
        State dictionaries, tensors, numbers and lists of these.
    """
    part = path.with_name(path.name + ".part")
    science = {key: str(value) for key, value in flat(identity.science)}
    torch.save({"science": science, "pools": dict(identity.pools), **parts}, part)
    part.replace(path)


def read_checkpoint(path: Path, identity: Identity, place: torch.device) -> dict[str, Any]:
    """The parts of a checkpoint of this very run.

    Raises
    ------
    ProductMismatch
        If it is of another configuration or other pools, naming what differs, or no checkpoint at all; a pickle that
        would run code is none.
    """
    try:
        with warnings.catch_warnings():
            # Of pickles that are refused anyway.
            warnings.simplefilter("ignore")
            saved: dict[str, Any] = torch.load(path, map_location=place, weights_only=True)
        science, pools = saved.pop("science"), saved.pop("pools")
    except (OSError, RuntimeError, UnpicklingError, KeyError, EOFError, AttributeError, TypeError) as error:
        raise ProductMismatch(
            f"{path} is no checkpoint of a training run ({_what_is_wrong(error)}); "
            "train to another --out, or without --resume."
        ) from error
    here = {key: str(value) for key, value in flat(identity.science)}
    if science != here:
        raise ProductMismatch(
            f"{path} belongs to another configuration: {differences(science, here)}. "
            "Train to another --out, or without --resume."
        )
    other = [name for name in {**pools, **identity.pools} if pools.get(name) != identity.pools.get(name)]
    if other:
        raise ProductMismatch(
            f"{path} belongs to other pools: the {' and '.join(other)} stamps have changed. "
            "Train to another --out, or without --resume."
        )
    return saved


def _what_is_wrong(error: Exception) -> str:
    """In a few words; torch's own advise to load what may run code."""
    match error:
        case UnpicklingError() | TypeError() | AttributeError():
            return "it holds objects that a checkpoint never holds, so it was not loaded"
        case KeyError():
            return f"{error} is not in it"
        case OSError():
            return str(error)
        case _:
            return "it is torn or empty"


def differences(there: Mapping[str, str], here: Mapping[str, str]) -> str:
    """The first few keys in which two mappings differ, with both values, for a message."""
    keys = [key for key in {**there, **here} if there.get(key) != here.get(key)]
    told = [f"{key} is {there.get(key, 'not given')} there and {here.get(key, 'not given')} here" for key in keys]
    more = f", and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return "; ".join(told[:_TOLD]) + more


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings, by dotted name."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
