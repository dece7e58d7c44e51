"""Writing an ensemble's TOML, so that `load_ensemble` reads the same thing back; packages are left alone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pipeline.models.card import packages_root
from pipeline.models.ensemble import Ensemble
from pipeline.models.familiarity_file import FAMILIARITY
from pipeline.models.package import ModelPackage
from pipeline.models.publish import write_familiarity, write_toml

CALIBRATIONS, FAMILIARITIES = "calibrations", "familiarities"


def save_ensemble(path: Path, ensemble: Ensemble, description: str) -> None:
    """Write an ensemble's TOML and, in folders beside it, what its members have of their own for it.

    Parameters
    ----------
    path : Path
        Of the TOML. `calibrations/<member>.toml` and, for members with a familiarity,
        `familiarities/<member>/familiarity.safetensors` go beside it; those of another ensemble there are replaced.
    ensemble : Ensemble
    description : str
    """
    folder = path.parent
    members = []
    for member, weight in zip(ensemble.members, ensemble.weights, strict=True):
        calibration = Path(CALIBRATIONS) / f"{member.name}.toml"
        write_toml(folder / calibration, member.calibration.model_dump())
        values: dict[str, Any] = {
            "package": _reference(member, folder),
            "weight": weight,
            "calibration": calibration.as_posix(),
        }
        if member.familiarity is not None:
            place = Path(FAMILIARITIES) / member.name
            (folder / place).mkdir(parents=True, exist_ok=True)
            write_familiarity(folder / place, member.familiarity)
            values["familiarity"] = (place / FAMILIARITY).as_posix()
        members.append(values)
    combination = {key: value for key, value in ensemble.combination.model_dump().items() if value is not None}
    text: dict[str, Any] = {"name": ensemble.name, "description": description, "views": ensemble.views}
    text["rule"] = ensemble.rule
    if combination:
        text["combination"] = combination
    if ensemble.calibration is not None:
        text["calibration"] = ensemble.calibration.model_dump()
    if ensemble.mapper is not None:
        text["maps"] = {"package": _reference(ensemble.mapper.package, folder)}
        if ensemble.mapper.joint is not None:
            text["maps"]["joint"] = ensemble.mapper.joint.model_dump()
    if ensemble.fitter is not None:
        text["parameters"] = ensemble.fitter.config.model_dump()
        text["parameters"]["package"] = _reference(ensemble.fitter.package, folder)
    if ensemble.cascade is not None:
        text["cascade"] = ensemble.cascade.config.model_dump(exclude_none=True)
        for gate, package in zip(text["cascade"]["gates"], ensemble.cascade.packages, strict=True):
            gate["package"] = _reference(package, folder)
    if ensemble.embeddings is not None:
        text["embeddings"] = ensemble.embeddings
    text["members"] = members
    write_toml(path, text)


def _reference(member: ModelPackage, folder: Path) -> str:
    """A shipped package by name, another by its place as seen from the file."""
    if member.path.resolve().parent == packages_root():
        return member.path.name
    return Path(os.path.relpath(member.path.resolve(), folder.resolve())).as_posix()
