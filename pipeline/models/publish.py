"""Writing a model package, so that `load_package` reads the same thing back."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from pipeline.models.calibration import Calibration
from pipeline.models.card import CALIBRATION, CARD, WEIGHTS, ModelCard
from pipeline.models.familiarity import Familiarity, familiarity_bytes
from pipeline.models.familiarity_file import FAMILIARITY

_ANGLES = ("peak_radius", "frame", "core")
"""Keys of a normalisation that are in arcsec."""

_BARE_KEY = re.compile(r"^[A-Za-z0-9_-]+$")


def save_package(
    path: Path,
    card: ModelCard,
    network: nn.Module,
    calibration: Calibration,
    familiarity: Familiarity | None = None,
    *,
    storage: torch.dtype = torch.float32,
) -> None:
    """Write card, weights (safetensors) and calibration to a folder, each file whole or not at all.

    A familiarity that lies there is replaced or, since it was that of other weights, deleted.

    Parameters
    ----------
    path : Path
        The package's folder; made if it is not there, files of a package in it are replaced.
    card, network, calibration, familiarity
        The network must be of the card's architecture.
    storage : torch.dtype
        Of the parameters in the file, which a network reads back in float32; buffers stay as they are. float16 halves
        the file, and keeps a weight to three digits.
    """
    path.mkdir(parents=True, exist_ok=True)
    parameters = {name for name, _ in network.named_parameters()}
    state = {
        name: value.detach().cpu().contiguous().to(storage if name in parameters else value.dtype)
        for name, value in network.state_dict().items()
    }
    (path / FAMILIARITY).unlink(missing_ok=True)
    _replace(path / WEIGHTS, save(state))
    if familiarity is not None:
        write_familiarity(path, familiarity)
    write_calibration(path, calibration)
    write_card(path, card)


def write_card(path: Path, card: ModelCard) -> None:
    """Write `model.toml` alone."""
    _replace(path / CARD, to_toml(_with_units(card)).encode())


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write `calibration.toml` alone: what a new calibration of an old network needs."""
    _replace(path / CALIBRATION, to_toml(calibration.model_dump()).encode())


def write_familiarity(path: Path, familiarity: Familiarity) -> None:
    """Write `familiarity.safetensors` alone."""
    _replace(path / FAMILIARITY, familiarity_bytes(familiarity))


def write_toml(path: Path, values: Mapping[str, Any]) -> None:
    """Write a file of nested mappings as TOML, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, to_toml(values).encode())


def to_toml(values: Mapping[str, Any]) -> str:
    """TOML text of nested mappings, lists of scalars and lists of mappings; None is left out.

    Raises
    ------
    TypeError
        For a value that TOML has no form for.
    """
    return "\n".join(_lines(values, ())) + "\n"


def _lines(values: Mapping[str, Any], prefix: tuple[str, ...]) -> list[str]:
    plain, tables, arrays = [], [], []
    for key, value in values.items():
        if isinstance(value, Mapping):
            tables.append((key, value))
        elif _is_array_of_tables(value):
            arrays.append((key, value))
        elif value is not None:
            plain.append(f"{_key(key)} = {_scalar(value)}")
    for key, table in tables:
        name = (*prefix, _key(key))
        plain += ["", f"[{'.'.join(name)}]", *_lines(table, name)]
    for key, items in arrays:
        name = (*prefix, _key(key))
        for item in items:
            plain += ["", f"[[{'.'.join(name)}]]", *_lines(item, name)]
    return plain


def _is_array_of_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _key(key: str) -> str:
    return key if _BARE_KEY.match(key) else json.dumps(key)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Sequence):
        if len(value) > 1 and all(isinstance(item, str) for item in value) and sum(map(len, value)) > 80:
            return "[\n" + "".join(f"  {_scalar(item)},\n" for item in value) + "]"
        return "[" + ", ".join(_scalar(item) for item in value) + "]"
    raise TypeError(f"{value!r} ({type(value).__name__}) has no form in TOML")


def _with_units(card: ModelCard) -> dict[str, Any]:
    """The card as a person would write it: numbers of an angle carry their unit."""
    values = card.model_dump()
    values["pixel_scale"] = f"{card.pixel_scale:g} arcsec"
    normalisation = values["normalisation"]
    normalisation.update({name: f"{normalisation[name]:g} arcsec" for name in _ANGLES if name in normalisation})
    return values


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
