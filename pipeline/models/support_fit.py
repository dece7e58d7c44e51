"""Filling a support set: prototypes, and the space in which distances from them are taken."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import ConfigError
from pipeline.models.familiarity_fit import shrunk_covariance
from pipeline.models.support import SupportHead

Float64 = npt.NDArray[np.float64]

Metric = Literal["euclidean", "whitened"]
"""Distances in the embedding as it is, or where the other kinds' scatter about their prototypes is round."""

_ROUNDS = 50


def fit_support(
    head: SupportHead,
    embedding: npt.NDArray[Any],
    kinds: npt.NDArray[Any],
    rare: npt.NDArray[np.bool_],
    *,
    metric: Metric = "whitened",
) -> None:
    """Fill a support set, in place, with the mean of each kind's examples.

    A kind with rare and other examples gives a prototype on either side. Metric and scale come from the others alone,
    of which there are many; examples of a rare kind are too few to say how wide it is.

    Parameters
    ----------
    head : SupportHead
    embedding : (n, d)
        Of the examples.
    kinds : (n,)
        Names or numbers.
    rare : bool (n,)
        Which are examples of a rare kind.
    metric : {"euclidean", "whitened"}

    Raises
    ------
    ConfigError
        If either side has no example, there are more prototypes than room, an embedding is not finite, or all others
        are the same.
    """
    values = np.asarray(embedding, np.float64)
    if not np.isfinite(values).all():
        raise ConfigError("the embedding of an example is not finite; leave that stamp out.")
    if not rare.any() or rare.all():
        raise ConfigError(f"a support set needs examples of both sides, not {int(rare.sum())} rare of {len(rare)}.")
    keys, index = np.unique(np.stack([rare.astype(str), kinds.astype(str)], axis=1), axis=0, return_inverse=True)
    if len(keys) > len(head.counts):
        raise ConfigError(f"{len(keys)} kinds in a support set with room for {len(head.counts)}; give it more.")
    index = index.reshape(-1)
    counts = np.bincount(index)
    means = np.stack([values[index == number].mean(axis=0) for number in range(len(keys))])
    centre = values[~rare].mean(axis=0)
    scatter = (values - means[index])[~rare]
    if not scatter.any():
        raise ConfigError("the other examples are the same within each kind, so there is no scale; give more of them.")
    matrix = np.eye(values.shape[1])
    if metric == "whitened":
        # The Cholesky factor of the inverse: W W^T = S^-1.
        matrix = np.linalg.cholesky(np.linalg.inv(shrunk_covariance(scatter)))
    is_rare = keys[:, 0] == "True"
    sides = np.where(is_rare, counts[is_rare].sum(), counts[~is_rare].sum())
    scale = np.sqrt(np.square(scatter @ matrix).sum(axis=1).mean())
    room = len(head.counts)
    _set(head.centre, centre)
    _set(head.metric, matrix)
    _set(head.prototypes, _padded((means - centre) @ matrix, room))
    _set(head.counts, _padded(counts, room))
    _set(head.rare, _padded(is_rare, room))
    _set(head.weights, _padded(counts / sides, room))
    _set(head.scale, scale)


def clusters(embedding: npt.NDArray[Any], number: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Group examples of no known kind, each with the nearest of `number` centres, by Lloyd's algorithm.

    Lloyd 1982 (IEEE Trans. Inf. Theory 28, 129), from centres drawn as k-means++ does (Arthur & Vassilvitskii 2007,
    SODA, 1027), in the space in which all examples' scatter is round.

    Parameters
    ----------
    embedding : (n, d)
    number : int
        Of centres; no more than examples.
    seed : int

    Returns
    -------
    int64 (n,)
        Below `number`; a centre may be left without examples.
    """
    values = np.asarray(embedding, np.float64)
    centred = values - values.mean(axis=0)
    if centred.any():
        centred = centred @ np.linalg.cholesky(np.linalg.inv(shrunk_covariance(centred)))
    rng = np.random.default_rng(seed)
    centres = centred[rng.integers(len(centred))][None]
    while len(centres) < min(number, len(centred)):
        nearest = _square_distances(centred, centres).min(axis=1)
        chance = nearest / nearest.sum() if nearest.any() else None
        centres = np.append(centres, centred[rng.choice(len(centred), p=chance)][None], axis=0)
    group = np.full(len(centred), -1)
    for _ in range(_ROUNDS):
        before, group = group, _square_distances(centred, centres).argmin(axis=1)
        if (group == before).all():
            break
        for place in np.unique(group):
            centres[place] = centred[group == place].mean(axis=0)
    answer: npt.NDArray[np.int64] = group.astype(np.int64)
    return answer


def _square_distances(values: Float64, centres: Float64) -> Float64:
    squares = np.square(values).sum(axis=1)[:, None] - 2 * values @ centres.T + np.square(centres).sum(axis=1)
    answer: Float64 = np.maximum(squares, 0.0)
    return answer


def _padded(values: npt.NDArray[Any], length: int) -> Float64:
    padded = np.zeros((length, *values.shape[1:]))
    padded[: len(values)] = values
    return padded


def _set(buffer: torch.Tensor, values: Any) -> None:
    with torch.no_grad():
        buffer.copy_(torch.as_tensor(np.asarray(values, np.float32)))
