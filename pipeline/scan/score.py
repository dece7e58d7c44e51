"""Logits of every member for a shard of cutouts, and how familiar each member finds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.flags import valid_pixels
from pipeline.models.ensemble import Ensemble
from pipeline.models.familiarity import Familiarity
from pipeline.models.normalise import Normalisation, normalise
from pipeline.models.package import ModelCard, ModelPackage
from pipeline.models.resample import resample
from pipeline.scan_config import ScoreConfig

Float32 = npt.NDArray[np.float32]

_CENTRE = 1.5
"""Half the side, in arcsec, of the central square that must hold at least one valid pixel."""

_TURNS = {1: (), 2: (2,), 4: (1, 2, 3)}
"""Quarter turns beside the upright view, by the number of views."""

_CPU_SLICE = 32
"""Stamps that are resampled and normalised at a time on a CPU."""


@dataclass(frozen=True)
class MemberAnswers:
    """What the members say of n stamps, float32 (n, members) each; NaN where a stamp can't be scored.

    Attributes
    ----------
    logits
    distances
        From what the member was trained on (`Familiarity.distance`); NaN throughout for a member without.
    """

    logits: Float32
    distances: Float32


def score_cutouts(
    image: npt.NDArray[Any],
    ivar: npt.NDArray[Any] | None,
    mask: npt.NDArray[Any] | None,
    *,
    pixel_scale: float,
    bands: tuple[str, ...],
    ensemble: Ensemble,
    config: ScoreConfig,
    device: str | None = None,
) -> Float32:
    """Raw logits of every member, float32 (n, members); parameters and errors as `ask_members`."""
    return ask_members(
        image,
        ivar,
        mask,
        pixel_scale=pixel_scale,
        bands=bands,
        ensemble=ensemble,
        config=config,
        device=device,
    ).logits


def ask_members(
    image: npt.NDArray[Any],
    ivar: npt.NDArray[Any] | None,
    mask: npt.NDArray[Any] | None,
    *,
    pixel_scale: float,
    bands: tuple[str, ...],
    ensemble: Ensemble,
    config: ScoreConfig,
    device: str | None = None,
) -> MemberAnswers:
    """Logits and distances of every member, in one pass, for cutouts of any size and pixel scale.

    A logit is the mean over the ensemble's views of the stamp, a distance that of the upright one.

    A pixel counts as valid in a band where it is finite, its `ivar` is positive and no fatal flag lies on
    it. A band is lost if, on the member's own grid, fewer of its pixels are valid than
    `config.min_valid_fraction` of those that the cutout covers, none is near the centre, or it is one
    constant. The member sees a lost band as missing, as the `dropout_share` of its training has shown it. Where
    more bands than `config.max_lost_bands` are lost, or all of them, or one of a member whose normalisation
    doesn't make it blank sky, the stamp has no score from the member (NaN).

    What is in a batch depends on the cutouts of this call alone: batches have a fixed size, the last one
    padded, nothing is autotuned and the number of threads is the caller's, so that the same call gives the
    same bytes.

    Parameters
    ----------
    image : (n, band, y, x), nJy
        NaN where there is no data. Any float type.
    ivar : (n, band, y, x), nJy^-2, or None
    mask : uint32 (n, band, y, x) of PixelFlag bits in both halves, or None
    pixel_scale : float, arcsec
    bands : tuple of str
        Canonical names along axis 1.
    ensemble : Ensemble
    config : ScoreConfig
    device : str, optional
        A torch device that overrides `config.device`.

    Returns
    -------
    MemberAnswers

    Raises
    ------
    ModelMismatch
        If a member needs a band that `bands` lacks, the pixels are far too coarse, or a member's familiarity is that
        of an embedding of another length.
    ConfigError
        If a CUDA device is asked for and there is none.
    ValueError
        If shapes don't agree.
    """
    _check_shapes(image, ivar, mask, bands)
    ensemble.check(bands, pixel_scale=pixel_scale)
    place = torch.device(device) if device is not None else choose_device(config.device)
    logits = np.full((len(image), len(ensemble.members)), np.nan, dtype=np.float32)
    distances = np.full_like(logits, np.nan)
    forwards = [_forward(member, place, config.dtype, ensemble.views) for member in ensemble.members]
    with torch.inference_mode():
        for rows, pixels, valid in _batches(image, ivar, mask, config.batch):
            inputs: dict[_Input, tuple[Tensor, Tensor]] = {}
            for column, member in enumerate(ensemble.members):
                wanted = _Input.of(member.card)
                if wanted not in inputs:
                    inputs[wanted] = _prepare(
                        pixels.to(place), valid.to(place), wanted, bands=bands, pixel_scale=pixel_scale, config=config
                    )
                channels, scorable = inputs[wanted]
                logit, distance = forwards[column](channels)
                for table, answer in ((logits, logit), (distances, distance)):
                    if answer is not None:
                        known = torch.where(scorable, answer, torch.nan).cpu()
                        table[rows, column] = known[: rows.stop - rows.start].numpy()
    return MemberAnswers(logits, distances)


def choose_device(asked: str) -> torch.device:
    """The device for "auto", "cpu" or "cuda"; auto takes CUDA where there is one.

    Raises
    ------
    ConfigError
        For "cuda" on a machine without a CUDA device.
    """
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if asked == "cuda" and not torch.cuda.is_available():
        raise ConfigError('device = "cuda", but torch finds no CUDA device; set it to "auto" or "cpu".')
    return torch.device(asked)


@dataclass(frozen=True)
class _Input:
    """What of a card decides its input; members that agree share the work."""

    bands: tuple[str, ...]
    pixel_scale: float
    size: int
    normalisation: Normalisation

    @classmethod
    def of(cls, card: ModelCard) -> _Input:
        return cls(card.bands, card.pixel_scale, card.size_pix, card.normalisation)


def _prepare(
    pixels: Tensor, valid: Tensor, wanted: _Input, *, bands: tuple[str, ...], pixel_scale: float, config: ScoreConfig
) -> tuple[Tensor, Tensor]:
    """Channels (n, c, size, size) of a batch, and which stamps can be scored (n,).

    On a CPU in slices that stay in its cache, which is over twice as fast as a batch at a time.
    """
    order = [bands.index(band) for band in wanted.bands]
    channels = torch.empty(
        (len(pixels), wanted.normalisation.channels(len(order)), wanted.size, wanted.size),
        device=pixels.device,
        memory_format=torch.channels_last,
    )
    scorable = torch.empty(len(pixels), dtype=torch.bool, device=pixels.device)
    step = _CPU_SLICE if pixels.device.type == "cpu" else len(pixels)
    for start in range(0, len(pixels), step):
        part = slice(start, start + step)
        some, known = pixels[part, order], valid[part, order]
        image, kept, covered = resample(some, known, pixel_scale, wanted.size, wanted.pixel_scale)
        varied = some.where(known, -torch.inf).amax((-2, -1)) > some.where(known, torch.inf).amin((-2, -1))
        usable = varied & _enough(kept, covered, wanted, config)
        channels[part] = normalise(image, kept & usable[..., None, None], wanted.normalisation, wanted.pixel_scale)
        may_lose = min(config.max_lost_bands, len(order) - 1) if wanted.normalisation.blank_where_invalid else 0
        scorable[part] = (~usable).sum(1) <= may_lose
    return channels, scorable


def _enough(kept: Tensor, covered: Tensor, wanted: _Input, config: ScoreConfig) -> Tensor:
    """Whether each band of each stamp has enough valid pixels, in the centre too; bool (n, band)."""
    fraction = kept.sum((-2, -1)) / covered.sum().clamp_min(1)
    reach = max(1, round(_CENTRE / wanted.pixel_scale))
    middle = slice(wanted.size // 2 - reach, wanted.size // 2 + reach)
    centre = kept[:, :, middle, middle].flatten(2).any(2)
    return (fraction >= config.min_valid_fraction) & centre


def _forward(
    member: ModelPackage, place: torch.device, dtype: str, views: int
) -> Callable[[Tensor], tuple[Tensor, Tensor | None]]:
    """The member's logits and distances on a device; weights of a CUDA device stay there for the next call."""
    network = member.network.to(place)
    familiarity = None if member.familiarity is None else member.familiarity.to(place)

    def forward(channels: Tensor) -> tuple[Tensor, Tensor | None]:
        with (
            torch.autocast(place.type, dtype=torch.bfloat16, enabled=dtype == "bfloat16"),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            turned = [network(_turned(channels, turn)) for turn in _TURNS[views]]
            if familiarity is None:
                upright: Tensor = network(channels)
                return _mean([upright, *turned]), None
            embedding = network.embed(channels)
            upright = network.head.classify(embedding)
        return _mean([upright, *turned]), _distance(familiarity, embedding, member.name)

    return forward


def _turned(channels: Tensor, turns: int) -> Tensor:
    return torch.rot90(channels, turns, (-2, -1)).contiguous(memory_format=torch.channels_last)


def _mean(logits: list[Tensor]) -> Tensor:
    return torch.stack([logit.float() for logit in logits]).mean(0)


def _distance(familiarity: Familiarity, embedding: Tensor, name: str) -> Tensor:
    if embedding.shape[1] != familiarity.width:
        raise ModelMismatch(
            f"member {name!r} embeds stamps in {embedding.shape[1]} numbers, its familiarity in {familiarity.width}; "
            f"fit the familiarity again with `lensscan calibrate --familiarity`."
        )
    return familiarity.distance(embedding)


def _batches(
    image: npt.NDArray[Any], ivar: npt.NDArray[Any] | None, mask: npt.NDArray[Any] | None, batch: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows, pixels and validity of each batch; the last is padded with invalid stamps to the full size."""
    shape = (batch, *image.shape[1:])
    for start in range(0, len(image), batch):
        rows = slice(start, min(start + batch, len(image)))
        count = rows.stop - rows.start
        pixels = np.zeros(shape, dtype=np.float32)
        valid = np.zeros(shape, dtype=np.bool_)
        pixels[:count] = image[rows]
        valid[:count] = valid_pixels(
            pixels[:count], None if ivar is None else ivar[rows], None if mask is None else mask[rows]
        )
        yield rows, torch.from_numpy(pixels), torch.from_numpy(valid)


def _check_shapes(
    image: npt.NDArray[Any], ivar: npt.NDArray[Any] | None, mask: npt.NDArray[Any] | None, bands: tuple[str, ...]
) -> None:
    if image.ndim != 4 or image.shape[1] != len(bands):
        raise ValueError(f"image has shape {image.shape}; expected (n, {len(bands)}, y, x) for bands {bands}")
    for name, plane in (("ivar", ivar), ("mask", mask)):
        if plane is not None and plane.shape != image.shape:
            raise ValueError(f"{name} has shape {plane.shape}, image {image.shape}; they must be equal")
