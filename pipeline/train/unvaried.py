"""Stamps as they are, in batches that a network in training is asked about."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.models.normalise import normalise
from pipeline.models.resample import resample
from pipeline.train.config import TrainConfig
from pipeline.train.held import Stamps

_BATCH = 256


def unvaried(
    network: nn.Module, stamps: Stamps, config: TrainConfig, rows: npt.NDArray[np.int64], *, told: bool = False
) -> Iterator[tuple[Tensor, npt.NDArray[np.int64]]]:
    """Channels of stamps, cropped to what a network reads, on its device; those of even number know their mask.

    With `told` all do, as the cutouts of a scan do.

    Yields
    ------
    channels : float32 (m, channels, size, size)
    rows : int64 (m,)
        Of the stamps.
    """
    place = next(network.parameters()).device
    scale = config.package.pixel_scale
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        image, valid, _ = stamps.take(part, (part % 2 == 0) | told)
        image, valid, _ = resample(image, valid, scale, config.package.size_pix, scale)
        channels = normalise(image, valid, config.normalisation, scale).to(place)
        yield channels.contiguous(memory_format=torch.channels_last), part


def autocast(config: TrainConfig, place: torch.device) -> torch.autocast:
    """The context in which a network computes in the configuration's type."""
    return torch.autocast(place.type, dtype=torch.bfloat16, enabled=config.run.dtype == "bfloat16")
