"""Fitting what a network finds familiar, from the embeddings of its training stamps and of others held back."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.errors import ConfigError
from pipeline.models.familiarity import Familiarity

Float64 = npt.NDArray[np.float64]

QUANTILES = 1001
"""Distances kept of the stamps held back: shares to a thousandth."""


def fit_familiarity(
    embedding: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    held_back: npt.NDArray[Any],
    fitted_on: str,
) -> Familiarity:
    """Class means, one shrunk covariance, and the distances of stamps held back.

    Parameters
    ----------
    embedding : (n, d)
        Of training stamps; rows with a NaN are left out.
    labels : (n,)
        Their classes; each gets a mean of its own.
    held_back : (m, d)
        Of stamps that are not among them.
    fitted_on : str
        What the stamps were.

    Raises
    ------
    ConfigError
        With fewer than ten stamps of a class or held back, or an embedding that is the same for all.
    ValueError
        If shapes don't agree.
    """
    known = np.isfinite(embedding).all(axis=1)
    values, classes = np.asarray(embedding, np.float64)[known], np.asarray(labels)[known]
    others = np.asarray(held_back, np.float64)[np.isfinite(held_back).all(axis=1)]
    if others.ndim != 2 or others.shape[1] != values.shape[1]:
        raise ValueError(f"embeddings of {values.shape} and {others.shape}: the second axes must be equal")
    names, index = np.unique(classes, return_inverse=True)
    counts = np.bincount(index, minlength=1)
    if not len(names) or min(*counts.tolist(), len(others)) < 10:
        raise ConfigError(
            f"familiarity needs ten stamps of each class and ten held back; {fitted_on} has "
            f"{', '.join(map(str, counts))} and {len(others)}."
        )
    means = np.stack([values[index == number].mean(axis=0) for number in range(len(names))])
    covariance = shrunk_covariance(values - means[index])
    if not covariance.any():
        raise ConfigError(f"the embedding of {fitted_on} is the same for every stamp; nothing is unfamiliar to it.")
    # The Cholesky factor of the inverse: W W^T = S^-1.
    whitening = np.linalg.cholesky(np.linalg.inv(covariance))
    fit = Familiarity(
        torch.from_numpy(means.astype(np.float32)),
        torch.from_numpy(whitening.astype(np.float32)),
        np.zeros(2, np.float32),
        fitted_on,
    )
    distances = fit.distance(torch.from_numpy(others.astype(np.float32))).numpy()
    quantiles = np.quantile(distances, np.linspace(0.0, 1.0, QUANTILES)).astype(np.float32)
    return Familiarity(fit.means, fit.whitening, quantiles, fitted_on)


def shrunk_covariance(centred: Float64) -> Float64:
    """Covariance drawn towards a multiple of the identity by as much as its noise asks for.

    Ledoit & Wolf 2004 (J. Multivariate Anal. 88, 365, lemma 3.3): without it, features that never vary (dead
    rectifiers) have no inverse, and rare directions weigh too much.

    Parameters
    ----------
    centred : float64 (n, d)
        Means taken off.

    Returns
    -------
    float64 (d, d)
    """
    n, d = centred.shape
    sample = centred.T @ centred / n
    level = float(np.trace(sample)) / d
    spread = float(np.square(sample - level * np.eye(d)).sum())
    # Sum over stamps of |x x^T - S|^2 without a (d, d) matrix for each: |x|^4 - 2 x^T S x + |S|^2, whose mean is this.
    noise = float((np.square(centred).sum(axis=1) ** 2).mean() - np.square(sample).sum()) / n
    share = 1.0 if spread == 0 else min(1.0, max(0.0, noise / spread))
    shrunk: Float64 = share * level * np.eye(d) + (1 - share) * sample
    return shrunk
