"""Logits of every member for a shard of cutouts, how familiar each member finds them, and one member's embeddings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models.cascade import Cascade
from pipeline.models.compiled import compiled_run
from pipeline.models.ensemble import Ensemble
from pipeline.models.familiarity import Familiarity
from pipeline.models.onnx_session import onnx_run
from pipeline.models.package import ModelPackage, embedding_width
from pipeline.scan.member_inputs import Cutouts, Prepared, batches
from pipeline.scan.read_ahead import read_ahead
from pipeline.scan_config import ScoreConfig

Float16 = npt.NDArray[np.float16]
Float32 = npt.NDArray[np.float32]
Forward = Callable[[tuple[Tensor, ...]], tuple[Tensor, Tensor | None, Tensor | None]]
"""From the views of a batch to logits; where the member has a familiarity, distances; where asked for, embeddings."""

_CPU_BATCH = 64
"""Most stamps of a batch on a CPU, which is within 2 % as fast as 256, and pads a small field by less."""

_CPU_BATCH_GATED = 32
"""The same behind a gate, through which few stamps come."""


@dataclass(frozen=True)
class MemberAnswers:
    """What the members say of n stamps, float32 (n, members) each; NaN where a stamp can't be scored or was stopped.

    Attributes
    ----------
    logits
    distances
        From what the member was trained on (`Familiarity.distance`); NaN throughout for a member without.
    gates : float32 (n, gates), or None
        Logits of the cascade's gates; NaN where one can't score a stamp or was not asked, None without a cascade.
    embeddings : float16 (n, d), or None
        What one member makes of the upright stamp before its last layer; NaN where it has no logit, None if not asked
        for.
    """

    logits: Float32
    distances: Float32
    gates: Float32 | None = None
    embeddings: Float16 | None = None


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

    A logit is the mean over the ensemble's views of the stamp, a distance that of the upright one. With
    `config.cascade` the gates of the ensemble's cascade see the stamps first, and the members those that they pass.
    With `config.embeddings` the same pass gives those of one member.

    A pixel counts as valid in a band where it is finite, its `ivar` is positive and no fatal flag lies on
    it. A band is lost if, on the member's own grid, fewer of its pixels are valid than
    `config.min_valid_fraction` of those that the cutout covers, none is near the centre, or it is one
    constant. The member sees a lost band as missing, as the `dropout_share` of its training has shown it. Where
    more bands than `config.max_lost_bands` are lost, or all of them, or one of a member whose normalisation
    doesn't make it blank sky, the stamp has no score from the member (NaN).

    What is in a batch depends on the cutouts of this call alone: batches have a fixed size, smaller on a CPU and
    behind a gate, the last one padded, nothing is autotuned and the number of threads is the
    caller's, so that the same call gives the same bytes.

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
        If a member needs a band that `bands` lacks, the pixels are far too coarse, a member's familiarity is that
        of an embedding of another length, there is to be a cascade and the ensemble has none, or the member that is to
        give embeddings is none of it.
    ConfigError
        If a CUDA device is asked for and there is none.
    ValueError
        If shapes don't agree.
    """
    cutouts = Cutouts(image, ivar, mask, bands, pixel_scale)
    ensemble.check(bands, pixel_scale=pixel_scale)
    place = torch.device(device) if device is not None else choose_device(config.device)
    rows, gates = np.arange(len(cutouts)), None
    if config.cascade:
        cascade = ensemble.gates()
        gates = ask_gates(cutouts, cascade, config, place)
        rows = np.flatnonzero(~cascade.stops(gates))
    sized = with_batch_for(place, config, gated=gates is not None)
    embedder = ensemble.embedder(config.embeddings)
    logits, distances, embeddings = _ask(cutouts, rows, ensemble.members, ensemble.views, sized, place, embedder)
    return MemberAnswers(logits, distances, gates, embeddings)


def embed_cutouts(
    image: npt.NDArray[Any],
    ivar: npt.NDArray[Any] | None,
    mask: npt.NDArray[Any] | None,
    *,
    pixel_scale: float,
    bands: tuple[str, ...],
    member: ModelPackage,
    config: ScoreConfig,
    passed: npt.NDArray[np.int64] | None = None,
) -> Float16:
    """One member's embeddings alone, to the byte those that `ask_members` gives of the same cutouts.

    Parameters
    ----------
    image, ivar, mask, pixel_scale, bands, config
        As `ask_members` has them: all of a shard, since what is in a batch is part of what makes bytes equal.
    member : ModelPackage
    passed : int64 (k,), optional
        Rows that the gates of a cascade passed, where there was one.

    Returns
    -------
    float16 (n, d)
        NaN where the member can't score the stamp, or a gate stopped it.

    Raises
    ------
    ConfigError, ValueError
        As `ask_members`.
    """
    cutouts = Cutouts(image, ivar, mask, bands, pixel_scale)
    place = choose_device(config.device)
    rows = np.arange(len(cutouts)) if passed is None else passed
    sized = with_batch_for(place, config, gated=passed is not None)
    _, _, embeddings = _ask(cutouts, rows, (member,), 1, sized, place, 0)
    assert embeddings is not None
    return embeddings


def ask_gates(cutouts: Cutouts, cascade: Cascade, config: ScoreConfig, place: torch.device) -> Float32:
    """Logits (n, gates) of a cascade's gates; NaN where one can't score a stamp, or one before it has stopped it."""
    logits = np.full((len(cutouts), len(cascade.packages)), np.nan, np.float32)
    for column, package in enumerate(cascade.packages):
        rows = np.flatnonzero(~cascade.stops(logits))
        sized = with_batch_for(place, config, gated=column > 0)
        asked = _ask(cutouts, rows, (package,), cascade.config.views, sized, place)[0]
        logits[:, column] = asked[:, 0]
    return logits


def with_batch_for(place: torch.device, config: ScoreConfig, *, gated: bool) -> ScoreConfig:
    """The config with smaller batches on a CPU, where they are as fast: the last one is padded to the full size."""
    if place.type != "cpu":
        return config
    most = _CPU_BATCH_GATED if gated else _CPU_BATCH
    return config.model_copy(update={"batch": min(config.batch, most)})


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


def _ask(
    cutouts: Cutouts,
    rows: npt.NDArray[np.int64],
    members: tuple[ModelPackage, ...],
    views: int,
    config: ScoreConfig,
    place: torch.device,
    embedder: int | None = None,
) -> tuple[Float32, Float32, Float16 | None]:
    """Logits and distances (n, members) of the chosen rows, and one member's embeddings (n, d); NaN in all others."""
    logits, distances = np.full((2, len(cutouts), len(members)), np.nan, dtype=np.float32)
    forwards = [member_forward(member, place, config, embed=i == embedder) for i, member in enumerate(members)]
    cuda = place.type == "cuda"
    made = batches(cutouts, rows, config.batch, pinned=cuda)
    found: list[Tensor] = []
    embedded: list[Tensor] = []
    with torch.inference_mode():
        # On a CPU one thread does it all: another would take the cores from the networks.
        for batch in read_ahead(made) if cuda else made:
            inputs = Prepared(batch.to(place), cutouts, config)
            answers = []
            for forward, member in zip(forwards, members, strict=True):
                logit, distance, embedding = forward(inputs.views(member.card, views))
                scorable = inputs.scorable(member.card)
                answers.append(_known(logit, distance, scorable))
                if embedding is not None:
                    embedded.append(_half(embedding, scorable)[: len(batch.rows)])
            found.append(torch.stack(answers, dim=-1)[:, : len(batch.rows)])
        if found:
            # One copy at the end: each one from a CUDA device waits for all that it still has to do.
            logits[rows], distances[rows] = torch.cat(found, dim=1).cpu().numpy()
        if embedder is None:
            return logits, distances, None
        width = embedded[0].shape[1] if embedded else embedding_width(members[embedder])
        embeddings = np.full((len(cutouts), width), np.nan, np.float16)
        if embedded:
            embeddings[rows] = torch.cat(embedded).cpu().numpy()
    return logits, distances, embeddings


def _half(embedding: Tensor, scorable: Tensor) -> Tensor:
    """Embeddings (n, d) in half precision, drawn to the edge of its range; NaN where the stamp can't be scored."""
    edge = torch.finfo(torch.float16).max
    return torch.where(scorable[:, None], embedding.float().clamp(-edge, edge), torch.nan).half()


def _known(logit: Tensor, distance: Tensor | None, scorable: Tensor) -> Tensor:
    """Logits and distances (2, n), NaN where there is none."""
    both = torch.stack([logit, torch.full_like(logit, torch.nan) if distance is None else distance])
    return torch.where(scorable, both, torch.nan)


def member_forward(member: ModelPackage, place: torch.device, config: ScoreConfig, *, embed: bool = False) -> Forward:
    """The member's logits and distances, and embeddings if asked, on a device; weights stay there for the next call."""
    network = member.network.to(place)
    familiarity = None if member.familiarity is None else member.familiarity.to(place)

    def ask(channels: Tensor) -> tuple[Tensor | None, Tensor]:
        if config.backend == "onnx":
            return onnx_run(network, tuple(channels.shape), torch.get_num_threads())(channels)
        with (
            torch.autocast(place.type, dtype=torch.bfloat16, enabled=config.dtype == "bfloat16"),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            if config.backend == "compile":
                return compiled_run(network)(channels)
            if familiarity is None and not embed:
                return None, network(channels)
            embedding = network.embed(channels)
            return embedding, network.head.classify(embedding)

    def forward(views: tuple[Tensor, ...]) -> tuple[Tensor, Tensor | None, Tensor | None]:
        answers = [ask(view) for view in views]
        embedding = answers[0][0]
        logit = torch.stack([logit.float() for _, logit in answers]).mean(0)
        kept = embedding if embed else None
        if familiarity is None or embedding is None:
            return logit, None, kept
        return logit, _distance(familiarity, embedding, member.name), kept

    return forward


def _distance(familiarity: Familiarity, embedding: Tensor, name: str) -> Tensor:
    if embedding.shape[1] != familiarity.width:
        raise ModelMismatch(
            f"member {name!r} embeds stamps in {embedding.shape[1]} numbers, its familiarity in {familiarity.width}; "
            f"fit the familiarity again with `lensscan calibrate --familiarity`."
        )
    return familiarity.distance(embedding)
