"""The file `familiarity.safetensors` of a package: its arrays, and the hashes by which a familiarity is known."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from pipeline.errors import ModelMismatch
from pipeline.provenance import fingerprint

Float32 = npt.NDArray[np.float32]

FAMILIARITY = "familiarity.safetensors"

_TENSORS = ("means", "whitening", "quantiles")


class Identified(Protocol):
    """What fingerprints need of a familiarity."""

    def identity(self) -> str:
        """Hash of what a distance depends on; quantiles don't count."""
        ...

    def quantiles_identity(self) -> str:
        """Hash of what makes a share of a distance."""
        ...


@dataclass(frozen=True)
class FamiliarityArrays:
    """What the file holds: `means` (classes, d), `whitening` (d, d) and `quantiles` (q,), and what it was fitted on."""

    means: Float32
    whitening: Float32
    quantiles: Float32
    fitted_on: str

    def identity(self) -> str:
        """As `Identified` has it."""
        return fingerprint([hashlib.sha256(part.tobytes()).hexdigest() for part in (self.means, self.whitening)])

    def quantiles_identity(self) -> str:
        """As `Identified` has it."""
        return hashlib.sha256(self.quantiles.tobytes()).hexdigest()


@dataclass(frozen=True)
class DescribedFamiliarity:
    """The hashes of a familiarity alone: a megabyte of arrays less."""

    distances: str
    shares: str

    def identity(self) -> str:
        """As `Identified` has it."""
        return self.distances

    def quantiles_identity(self) -> str:
        """As `Identified` has it."""
        return self.shares


def read_familiarity_arrays(path: Path) -> FamiliarityArrays:
    """Read `familiarity.safetensors`.

    Raises
    ------
    ModelMismatch
        If it is damaged or its tensors don't fit each other.
    """
    try:
        with safe_open(path, framework="numpy") as stream:
            arrays = {name: stream.get_tensor(name) for name in _TENSORS}
            told = (stream.metadata() or {}).get("fitted_on", "")
    except (OSError, SafetensorError) as error:
        raise ModelMismatch(f"{path}: cannot be read ({error}); fit it again or delete it.") from error
    means, whitening, quantiles = (arrays[name] for name in _TENSORS)
    shapes = [array.shape for array in (means, whitening, quantiles)]
    fit = means.ndim == 2 and shapes[1] == (shapes[0][1],) * 2 and quantiles.ndim == 1 and len(quantiles) >= 2
    if not fit or not all(np.isfinite(array).all() for array in arrays.values()):
        raise ModelMismatch(f"{path}: tensors {shapes} do not fit each other or are not finite; fit it again.")
    return FamiliarityArrays(means, whitening, quantiles, told)


def describe_familiarity(path: Path) -> DescribedFamiliarity:
    """The hashes of `familiarity.safetensors`; raises as `read_familiarity_arrays`."""
    arrays = read_familiarity_arrays(path)
    return DescribedFamiliarity(arrays.identity(), arrays.quantiles_identity())
