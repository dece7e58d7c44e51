"""The published weights of Wilde et al. 2022 as model packages; the one door through which a pickle comes in."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models.calibration import Calibration
from pipeline.models.card import ModelCard
from pipeline.models.normalisation import MinMaxConfig
from pipeline.models.ou_cnn import LAYOUTS, OuCnn
from pipeline.models.publish import save_package
from pipeline.provenance import sha256_of

_KEY = re.compile(r"^(?:(?:VIS_)?layer\.(?P<layer>\d+)|fc_layer\.(?P<linear>0|2))\.(?P<part>weight|bias)$")
_LINEAR = {"0": "head.hidden", "2": "head.out"}

_BANDS = {
    (66, 4): ("J", "Y", "H", "VIS"),
    (66, 3): ("J", "Y", "H"),
    (200, 4): ("J", "Y", "H", "VIS"),
    (200, 1): ("VIS",),
}
"""By size and number of bands; which one band of the three a network of 66 px reads, its weights don't tell."""

_PIXEL_SCALES = {66: "0.3 arcsec", 200: "0.1 arcsec"}

_NOTES = (
    "Trained by its authors on simulated Euclid images alone; imported, not trained here.",
    "Uncalibrated: its score is the published network's own softmax, at the mix of its training set.",
    "Bands come resampled to one grid; the original resized those of another pixel scale to the same side.",
    "Each band is scaled by its own extremes: a hot pixel or a bright neighbour changes the score.",
    "The training fingerprint is the sha256 of the published file.",
)


def import_ou(path: Path, out: Path, *, name: str | None = None, bands: tuple[str, ...] | None = None) -> Path:
    """Write a published `.pt` file of Wilde et al. 2022 as a model package.

    Parameters
    ----------
    path : Path
        A state dictionary of one of their seven networks, in any form that `torch.save` has had. Only tensors
        are read from it (`weights_only`): whatever else a pickle asks for is refused, not run.
    out : Path
        Gets the package as `<out>/<name>/`; files of a package there are replaced.
    name : str, optional
        Of the member; the file's own in lower case without `_weights` if None.
    bands : tuple of str, optional
        In the order of the channels. If None, what the number of channels says, and for one channel of 66 px the
        band that the file's name ends in (`OU_J_Weights.pt`).

    Returns
    -------
    Path
        The package's folder. Its calibration changes nothing and says so.

    Raises
    ------
    ModelMismatch
        If the file is not a plain dictionary of tensors, or not of one of these networks.
    ConfigError
        For bands that don't fit the weights or can't be told, or a name that can't be a column.
    """
    state = _read(path)
    size = _size(state, path)
    channels = _channels(state, path)
    network = OuCnn(channels, size)
    try:
        network.load_state_dict(_renamed(state, path))
    except RuntimeError as error:
        raise ModelMismatch(f"{path}: not a network of Wilde et al. 2022 for {size} px: {error}.") from error
    member = name if name is not None else path.stem.lower().removesuffix("_weights")
    try:
        card = _card(member, size, _bands(path, size, channels, bands), sha256_of(path))
    except ValueError as error:
        raise ConfigError(f"{path}: no card can be written for {member!r}; give another name: {error}") from error
    save_package(out / member, card, network, _UNCALIBRATED)
    return out / member


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file.") from error
    except pickle.UnpicklingError as error:
        raise ModelMismatch(
            f"{path}: refused, it is not a pickle of tensors alone and could run code: {error}. "
            "Ask its author for safetensors or a plain state dictionary."
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise ModelMismatch(f"{path}: weights cannot be read ({error}); fetch the file again.") from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelMismatch(f"{path}: holds a {type(state).__name__}, not a dictionary of tensors.")
    return state


def _size(state: Mapping[str, Tensor], path: Path) -> int:
    """The side of the stamps, by the shape of the first linear layer."""
    hidden = state.get("fc_layer.0.weight")
    for size, layout in LAYOUTS.items():
        if hidden is not None and hidden.shape == (layout.hidden, layout.flat):
            return size
    found = "none" if hidden is None else f"one of shape {tuple(hidden.shape)}"
    raise ModelMismatch(f"{path}: not a network of Wilde et al. 2022: fc_layer.0.weight is {found}.")


def _channels(state: Mapping[str, Tensor], path: Path) -> int:
    for prefix in ("layer", "VIS_layer"):
        first = state.get(f"{prefix}.0.weight")
        if first is not None and first.ndim == 4:
            return first.shape[1]
    raise ModelMismatch(f"{path}: not a network of Wilde et al. 2022: it has no convolution layer.0.weight.")


def _renamed(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The state under our names: their convolutions are numbered among ReLUs, poolings and dropouts, ours are not."""
    found = {key: _KEY.match(key) for key in state}
    if unknown := [key for key, match in found.items() if match is None]:
        raise ModelMismatch(f"{path}: not a network of Wilde et al. 2022: it holds {', '.join(unknown[:3])}.")
    matches = {key: match for key, match in found.items() if match is not None}
    numbers = sorted({int(match["layer"]) for match in matches.values() if match["layer"] is not None})
    answer = {}
    for key, match in matches.items():
        linear = match["layer"] is None
        ours = _LINEAR[match["linear"]] if linear else f"layers.{numbers.index(int(match['layer']))}.0"
        answer[f"{ours}.{match['part']}"] = state[key].float()
    return answer


def _bands(path: Path, size: int, channels: int, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    if wanted is not None:
        if len(wanted) != channels:
            raise ConfigError(f"{path}: the weights read {channels} bands, not {len(wanted)} ({', '.join(wanted)}).")
        return wanted
    named = re.match(r"^OU_([JYH])(?:_|$)", path.stem)
    bands = (named[1],) if named and channels == 1 and size == 66 else _BANDS.get((size, channels))
    if bands is None:
        raise ConfigError(f"{path}: which {channels} band(s) of 66 px it reads can't be told; name them in order.")
    return bands


def _card(name: str, size: int, bands: tuple[str, ...], digest: str) -> ModelCard:
    return ModelCard.model_validate(
        {
            "name": name,
            "architecture": "ou_cnn",
            "arguments": {"size": size},
            "output": "log-odds of a lens under the published softmax, at the mix of its training set",
            "bands": bands,
            "pixel_scale": _PIXEL_SCALES[size],
            "size_pix": size,
            "normalisation": MinMaxConfig(kind="min_max"),
            "training": "published weights, imported by `lensscan import-ou`",
            "training_fingerprint": digest,
            "licence": "MIT",
            "reference": "Wilde et al. 2022 (MNRAS 512, 3464)",
            "notes": _NOTES,
        }
    )


_UNCALIBRATED = Calibration(
    slope=1.0,
    offset=0.0,
    prior=0.5,
    n_lenses=0,
    n_others=0,
    fitted_on="nothing: uncalibrated, the network's own softmax taken at a prior of one half",
)
