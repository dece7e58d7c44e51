"""How well a network in training draws its maps."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pipeline.evaluate.map_metrics import overlap, peak_distance
from pipeline.models.layers import ARTEFACT, LENS_LIGHT
from pipeline.models.resample import resample
from pipeline.train.config import TrainConfig
from pipeline.train.held import Stamps
from pipeline.train.unvaried import autocast, unvaried


def map_figures(network: nn.Module, stamps: Stamps, config: TrainConfig) -> dict[str, float]:
    """Figures of the maps of some stamps, drawn above one half.

    Parameters
    ----------
    network : torch.nn.Module
        In evaluation mode, with a `MapHead` of two planes.
    stamps : Stamps
        Held with their maps.
    config : TrainConfig

    Returns
    -------
    dict
        `lens_light_iou` and `artefact_iou`: means over the stamps that truly show any, and `lens_light_peak_1px`: share
        of the lenses whose map's peak lies within one pixel of true lensed light. NaN without such stamps.
    """
    size = config.package.size_pix
    ious: tuple[list[float], list[float]] = ([], [])
    near: list[bool] = []
    with torch.inference_mode(), autocast(config, next(network.parameters()).device):
        for channels, rows in unvaried(network, stamps, config, np.arange(len(stamps))):
            drawn = network.head.draw_maps(network.encode(channels)).sigmoid().cpu()  # type: ignore[union-attr,operator]
            full = stamps.take_maps(rows)
            truth = resample(full, torch.ones_like(full, dtype=torch.bool), 1.0, size, 1.0)[0] > 0.5
            for plane in (LENS_LIGHT, ARTEFACT):
                shown = truth[:, plane].flatten(1).any(1)
                ious[plane].extend(overlap(drawn[shown, plane].numpy() > 0.5, truth[shown, plane].numpy()).tolist())
            lit = truth[:, LENS_LIGHT].flatten(1).any(1)
            far = peak_distance(drawn[lit, LENS_LIGHT].numpy(), truth[lit, LENS_LIGHT].numpy())
            near.extend((far <= 1).tolist())
    means = [float(np.mean(values)) if values else float("nan") for values in (*ious, near)]
    return dict(zip(("lens_light_iou", "artefact_iou", "lens_light_peak_1px"), means, strict=True))
