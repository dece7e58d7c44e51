"""Which part of a stamp speaks for a lens: a map a network, and one of an ensemble."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.errors import ModelMismatch
from pipeline.flags import valid_pixels
from pipeline.models.ensemble import Ensemble
from pipeline.models.layers import Network
from pipeline.models.normalise import normalise
from pipeline.models.package import ModelPackage
from pipeline.models.resample import resample, resample_values

Float32 = npt.NDArray[np.float32]

STRIDES = (2, 4)
"""Pixels a cell of the feature maps that a saliency is made of."""

_BATCH = 64
"""Stamps that a member sees at a time: what its backward pass keeps of them is some tens of MB."""


def saliency(network: Network, x: Tensor) -> Tensor:
    """Where a network finds what raises its logit, upright view.

    At two places inside the network, the last feature map on half of the grid and the last on a quarter, each cell
    gets the sum over features of activation times the logit's gradient, 0 where that speaks against a lens:
    Grad-CAM (Selvaraju et al. 2017, ICCV, 618) without its mean of the gradient over the map, which is HiResCAM
    (Draelos & Carin 2020, arXiv:2011.08891). The mean presumes that what follows the map is a mean over it; here a
    maximum, the mean of the centre and more convolutions follow, and what Grad-CAM marks says less of where an arc
    is than the middle of the stamp does (`tests/benchmarks/bench_saliency.py`). The two maps, interpolated to the
    stamp, are combined by their geometric mean: the coarse one knows what is an arc, the fine one where its light
    is. The encoder's own answer would not do: its cells are 16 px wide, more than an arc's radius, and a transformer
    with a class token has none; every registered network has these two.

    Parameters
    ----------
    network : Network
        In evaluation mode; its parameters and their gradients stay as they are.
    x : float32 (n, channels, y, x)
        On the network's device. NaN spreads through its stamp.

    Returns
    -------
    float32 (n, y, x)
        0 to 1, which a stamp's highest cell has; all 0 where nothing speaks for a lens in both maps, and in cells
        that unpadded convolutions have lost at the edge. The same call gives the same bytes.

    Raises
    ------
    ModelMismatch
        If the network has no feature map on either grid, or can't read stamps of this size.
    ValueError
        If it is in training mode.
    """
    if network.training:
        raise ValueError("saliency needs a network in evaluation mode: call network.eval() first")
    if len(x) == 0:
        return x.new_zeros((0, *x.shape[-2:]))
    side = int(x.shape[-2])
    deterministic = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with torch.inference_mode(False), torch.enable_grad(), deterministic:
        given = x.detach().clone(memory_format=torch.channels_last).requires_grad_(True)
        with _feature_maps(network, side) as maps:
            logits = network(given)
        missing = [stride for stride in STRIDES if stride not in maps]
        if missing:
            raise ModelMismatch(
                f"{type(network).__name__} has no feature map with cells of {missing[0]} px to look at."
            )
        gradients = torch.autograd.grad(logits.sum(), [maps[stride] for stride in STRIDES])
    answer = torch.ones_like(x[:, 0])
    for stride, gradient in zip(STRIDES, gradients, strict=True):
        cells = (gradient * maps[stride].detach()).sum(1).clamp_min(0.0)
        answer = answer * _on_stamp(cells, stride, (side, int(x.shape[-1])))
    return _to_one(answer.sqrt())


def ensemble_saliency(
    image: npt.NDArray[Any],
    ivar: npt.NDArray[Any] | None,
    mask: npt.NDArray[Any] | None,
    *,
    pixel_scale: float,
    bands: tuple[str, ...],
    ensemble: Ensemble,
    device: str = "cpu",
) -> Float32:
    """The members' saliency of cutouts, weighted as the ensemble weighs their scores.

    Parameters
    ----------
    image : (n, band, y, x), nJy
        NaN where there is no data; y = x. Any float type.
    ivar : (n, band, y, x), nJy^-2, or None
    mask : uint32 (n, band, y, x) of PixelFlag bits in both halves, or None
    pixel_scale : float, arcsec
    bands : tuple of str
        Canonical names along axis 1.
    ensemble : Ensemble
    device : str
        A torch device.

    Returns
    -------
    float32 (n, y, x)
        0 to 1, on the cutouts' grid: the weighted mean of maps that are 1 at each member's highest cell, 0 beyond
        what a member reads. Those that stand beside the rule count for nothing. NaN throughout for a cutout that has
        no valid pixel in any band that a member of the rule reads; a band without one is missing, as it may be in the
        score.

    Raises
    ------
    ModelMismatch
        If a member needs a band that `bands` lacks, or the pixels are far too coarse.
    ValueError
        If the cutouts are not square, or there are not as many bands as names.
    """
    if image.ndim != 4 or image.shape[1] != len(bands) or image.shape[2] != image.shape[3]:
        raise ValueError(f"image has shape {image.shape}; expected (n, {len(bands)}, side, side) for bands {bands}")
    ensemble.check(bands, pixel_scale=pixel_scale)
    answer = np.zeros((len(image), *image.shape[2:]), np.float32)
    used = [bands.index(band) for band in ensemble.ruling_bands()]
    for start in range(0, len(image), _BATCH):
        rows = slice(start, start + _BATCH)
        pixels = np.asarray(image[rows], np.float32)
        valid = valid_pixels(pixels, None if ivar is None else ivar[rows], None if mask is None else mask[rows])
        known, where = torch.from_numpy(np.where(valid, pixels, 0.0)).to(device), torch.from_numpy(valid).to(device)
        for number, share in zip(ensemble.ruling, _shares(ensemble), strict=True):
            member = ensemble.members[number]
            order = [bands.index(band) for band in member.card.bands]
            answer[rows] += share * _member(member, known[:, order], where[:, order], pixel_scale).cpu().numpy()
        seen: npt.NDArray[np.bool_] = np.logical_or.reduce(valid[:, used], axis=(2, 3))
        answer[rows][~seen.any(axis=1)] = np.nan
    return answer


def _member(member: ModelPackage, pixels: Tensor, valid: Tensor, pixel_scale: float) -> Tensor:
    """One member's saliency on the cutouts' own grid."""
    card = member.card
    # What scoring keeps between calls (kernels, indices) may be inference tensors, which autograd must not meet.
    with torch.no_grad():
        image, kept, _ = resample(pixels, valid, pixel_scale, card.size_pix, card.pixel_scale)
        channels = normalise(image, kept, card.normalisation, card.pixel_scale)
    seen = saliency(member.network.to(pixels.device), channels)
    with torch.no_grad():
        back, _ = resample_values(seen[:, None], card.pixel_scale, int(pixels.shape[-1]), pixel_scale)
        return back[:, 0].clamp(0.0, 1.0)


def _shares(ensemble: Ensemble) -> npt.NDArray[np.float32]:
    """What each member of the rule counts, summing to 1: by weights or coefficients, of which negative ones are 0."""
    fitted = ensemble.combination.weights or ensemble.combination.coefficients
    given = [ensemble.weights[n] if fitted is None else fitted[ensemble.names[n]] for n in ensemble.ruling]
    weights = np.maximum(np.asarray(given, np.float32), 0.0)
    if not weights.any():
        weights = np.ones_like(weights)
    shares: npt.NDArray[np.float32] = weights / weights.sum()
    return shares


@contextmanager
def _feature_maps(network: Network, side: int) -> Iterator[dict[int, Tensor]]:
    """Fill a dictionary, stride -> feature map, while the network runs.

    Looked at are the parts that everything passes through: the network's own children, and the steps of those that
    are sequences or lists. Of one stride the last is taken, but for maps that unpadded convolutions have made smaller.
    """
    maps: dict[int, Tensor] = {}

    def look(part: nn.Module, given: Any, answer: Any) -> None:
        if isinstance(answer, Tensor) and answer.ndim == 4 and 0 < answer.shape[-2] <= side:
            stride = 1 << ((side // answer.shape[-2]).bit_length() - 1)
            if stride not in maps or answer.shape[-2] >= maps[stride].shape[-2]:
                maps[stride] = answer

    parts = [child for name, child in network.named_children() if name != "head"]
    steps = [step for part in parts for step in (part if isinstance(part, nn.Sequential | nn.ModuleList) else [part])]
    handles = [step.register_forward_hook(look) for step in steps]
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def _on_stamp(cells: Tensor, stride: int, shape: tuple[int, int]) -> Tensor:
    """A map of cells on the stamp's pixels, bilinear; cells lie about the centre, 0 beyond them."""
    if not cells.shape[-1]:
        return cells.new_zeros((len(cells), *shape))
    grown = nn.functional.interpolate(cells[:, None], scale_factor=stride, mode="bilinear", align_corners=False)[:, 0]
    pads = []
    for length, wanted in ((grown.shape[-1], shape[1]), (grown.shape[-2], shape[0])):
        pads += [(wanted - length) // 2, wanted - length - (wanted - length) // 2]
    return nn.functional.pad(grown, pads)


def _to_one(maps: Tensor) -> Tensor:
    """Each map over its largest value; NaN stays."""
    highest = maps.amax((-2, -1), keepdim=True)
    return torch.where(highest > 0, maps / highest.where(highest > 0, 1.0), maps)
