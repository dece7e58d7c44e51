"""The dimensions in which anomalies stand apart, by chi-squared of their histograms, and where normal stamps lie there.

Labels of simulated anomalies are read here, after training, to say where to look; how a stamp of either kind looks to
the network is not changed by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import ConfigError
from pipeline.models.familiarity_fit import shrunk_covariance
from pipeline.models.vae import VaeHead

Float64 = npt.NDArray[np.float64]

FEWEST = 10
"""Stamps of each class that a choice needs."""


@dataclass(frozen=True)
class Choice:
    """Dimensions of an embedding, and normal stamps in them.

    Attributes
    ----------
    chi_squared : float64 (w,)
        Of each dimension, over its degrees of freedom: 1 where anomalies lie as normal stamps do.
    chosen : bool (w,)
    mean, whitening : float64 (w,), (w, w)
        Of normal stamps in the chosen dimensions, 0 in the others: W with W W^T the inverse of their covariance.
    anomaly_mean, anomaly_whitening : float64 (w,), (w, w)
        Likewise of the anomalies.
    """

    chi_squared: Float64
    chosen: npt.NDArray[np.bool_]
    mean: Float64
    whitening: Float64
    anomaly_mean: Float64
    anomaly_whitening: Float64


def choose(
    embedding: npt.NDArray[Any],
    anomaly: npt.NDArray[np.bool_],
    allowed: npt.NDArray[np.bool_],
    *,
    bins: int = 20,
    share: float = 0.3,
    most: int = 8,
) -> Choice:
    """Choose the dimensions in which normal stamps and anomalies differ most.

    Parameters
    ----------
    embedding : (n, w)
        Rows with a NaN are left out.
    anomaly : bool (n,)
    allowed : bool (w,)
        Dimensions that may be chosen.
    bins : int
        Of each histogram.
    share : float
        A dimension is chosen whose excess of chi-squared over 1 is at least this share of the largest one's.
    most : int
        No more dimensions than this.

    Raises
    ------
    ConfigError
        With fewer than ten stamps of a class.
    """
    known = np.isfinite(embedding).all(axis=1)
    values, unusual = np.asarray(embedding, np.float64)[known], anomaly[known]
    counts = int((~unusual).sum()), int(unusual.sum())
    if min(counts) < FEWEST:
        raise ConfigError(
            f"the choice of dimensions needs {FEWEST} normal stamps and as many anomalies; the training stamps hold "
            f"{counts[0]:,} and {counts[1]:,}."
        )
    chi_squared = histogram_chi_squared(values[~unusual], values[unusual], bins)
    excess = np.where(allowed, np.maximum(chi_squared - 1, 0), 0)
    chosen = allowed & (excess >= share * excess.max())
    rank = np.argsort(np.argsort(-np.where(chosen, excess, -1), kind="stable"), kind="stable")
    chosen &= rank < most
    return Choice(chi_squared, chosen, *_where(values[~unusual], chosen), *_where(values[unusual], chosen))


def _where(values: Float64, chosen: npt.NDArray[np.bool_]) -> tuple[Float64, Float64]:
    """Mean (w,) and whitening (w, w) of a sample (n, w) in the chosen dimensions, 0 in the others."""
    wide = values.shape[1]
    mean, whitening = np.zeros(wide), np.zeros((wide, wide))
    mean[chosen] = values[:, chosen].mean(axis=0)
    covariance = shrunk_covariance(values[:, chosen] - mean[chosen])
    # The Cholesky factor of the inverse; a dimension that never varies gets some width.
    level = 1e-6 * max(float(np.trace(covariance)) / len(covariance), 1e-12)
    whitening[np.ix_(chosen, chosen)] = np.linalg.cholesky(np.linalg.inv(covariance + level * np.eye(len(covariance))))
    return mean, whitening


def histogram_chi_squared(normal: Float64, unusual: Float64, bins: int) -> Float64:
    """How differently two samples are distributed in each dimension, (w,), over the degrees of freedom.

    The chi-squared of two binned samples of different size (Press et al. 2007, Numerical Recipes, equation 14.3.3), in
    bins that hold as many normal stamps each, open at both ends.

    Parameters
    ----------
    normal, unusual : float64 (n, w), (m, w)
    bins : int
    """
    answer = np.ones(normal.shape[1])
    for place, (ours, theirs) in enumerate(zip(normal.T, unusual.T, strict=True)):
        edges = np.unique(np.quantile(ours, np.linspace(0, 1, bins + 1)[1:-1]))
        first, second = (np.bincount(np.searchsorted(edges, part), minlength=len(edges) + 1) for part in (ours, theirs))
        ratio = np.sqrt(len(theirs) / len(ours))
        some = first + second > 0
        if some.sum() > 1:
            square = (ratio * first - second / ratio)[some] ** 2 / (first + second)[some]
            answer[place] = square.sum() / (some.sum() - 1)
    return answer


def settle(
    head: VaeHead,
    embedding: npt.NDArray[Any],
    anomaly: npt.NDArray[np.bool_],
    *,
    bins: int = 20,
    share: float = 0.3,
    most: int = 8,
) -> Choice:
    """Choose dimensions of a head's embedding and let it keep them; see `choose`."""
    choice = choose(embedding, anomaly, head.may_choose().numpy(), bins=bins, share=share, most=most)
    head.keep(**{name: torch.from_numpy(value) for name, value in vars(choice).items()})
    return choice
