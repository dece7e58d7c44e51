"""Classifiers for very few labels, on embeddings that stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluate.logistic import class_weights, logistic_regression
from pipeline.models.familiarity_fit import shrunk_covariance
from pipeline.models.layers import Classifier
from pipeline.models.support import SupportHead
from pipeline.models.support_fit import Metric, clusters, fit_support

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Space:
    """A linear map of embeddings, made without labels: less `centre`, times `matrix`."""

    centre: Float64
    matrix: Float64

    def of(self, embedding: npt.NDArray[Any]) -> Float64:
        """Embeddings (n, d) in the space."""
        mapped: Float64 = (np.asarray(embedding, np.float64) - self.centre) @ self.matrix
        return mapped


def scaled(unlabelled: npt.NDArray[Any]) -> Space:
    """The space in which every feature of unlabelled stamps, (n, d), has variance 1; constant ones stay 0."""
    spread = np.asarray(unlabelled, np.float64).std(axis=0)
    rates = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 1e-9)
    return Space(unlabelled.mean(axis=0, dtype=np.float64), np.diag(rates))


def whitened(unlabelled: npt.NDArray[Any]) -> Space:
    """The space in which the scatter of unlabelled stamps, (n, d), is round.

    Hardly any of a survey's stamps are lenses, so that this is the scatter of what is none, and the difference of two
    means is Fisher's discriminant there: what needs many labels comes from stamps without.
    """
    values = np.asarray(unlabelled, np.float64)
    centre = values.mean(axis=0)
    return Space(centre, np.linalg.cholesky(np.linalg.inv(shrunk_covariance(values - centre))))


SPACES: Mapping[str, Callable[[npt.NDArray[Any]], Space]] = {"scaled": scaled, "whitened": whitened}
"""Every space by name."""


def means(examples: Float64, lens: npt.NDArray[np.bool_]) -> Float64:
    """Weights (d + 1,), the last one's an offset, by which the nearer of the two classes' means is told."""
    first, second = examples[lens].mean(axis=0), examples[~lens].mean(axis=0)
    return np.append(first - second, (second @ second - first @ first) / 2)


def from_the_middle(examples: Float64, lens: npt.NDArray[np.bool_]) -> Float64:
    """As `means`, with the middle of all unlabelled stamps, the origin, instead of the others' mean."""
    first = examples[lens].mean(axis=0)
    return np.append(first, -(first @ first) / 2)


def ridge(penalty: float) -> Callable[[Float64, npt.NDArray[np.bool_]], Float64]:
    """A logistic regression whose squared weights are penalised; classes weigh the same."""

    def fit(examples: Float64, lens: npt.NDArray[np.bool_]) -> Float64:
        design = np.column_stack([examples, np.ones(len(examples))])
        return logistic_regression(design, lens.astype(np.float64), class_weights(lens, 0.5), ridge=penalty)

    return fit


FITS: Mapping[str, Callable[[Float64, npt.NDArray[np.bool_]], Float64]] = {
    "means": means,
    "mean from the middle": from_the_middle,
    "ridge 1": ridge(1.0),
    "ridge 10": ridge(10.0),
    "ridge 100": ridge(100.0),
}
"""Every fit by name: examples (n, d) in a space and whether each is a lens -> weights (d + 1,)."""

Scorer = Callable[[npt.NDArray[Any], npt.NDArray[np.bool_], npt.NDArray[Any]], npt.NDArray[Any]]
"""Examples (n, d), whether each is a lens, and what is asked about (m, d) -> scores (m,)."""


def linear(space: str, fit: str) -> Callable[[npt.NDArray[Any]], Scorer]:
    """A fit of `FITS` in a space of `SPACES`, which unlabelled stamps make."""

    def made(unlabelled: npt.NDArray[Any]) -> Scorer:
        within = SPACES[space](unlabelled)

        def scores(
            examples: npt.NDArray[Any], lens: npt.NDArray[np.bool_], asked: npt.NDArray[Any]
        ) -> npt.NDArray[Any]:
            weights = FITS[fit](within.of(examples), lens)
            answer: Float64 = within.of(asked) @ weights[:-1] + weights[-1]
            return answer

        return scores

    return made


def support(groups: int, metric: Metric) -> Callable[[npt.NDArray[Any]], Scorer]:
    """A support set as a package has it: the lenses' mean against so many groups of unlabelled stamps.

    Labels of others are not read; groups are those of `pipeline.models.support_fit.clusters`.
    """

    def made(unlabelled: npt.NDArray[Any]) -> Scorer:
        group = clusters(unlabelled, groups).astype(str)
        head = SupportHead(_Given(unlabelled.shape[1]), 1 + len(np.unique(group)))

        def scores(
            examples: npt.NDArray[Any], lens: npt.NDArray[np.bool_], asked: npt.NDArray[Any]
        ) -> npt.NDArray[Any]:
            lenses = examples[lens]
            rare = np.arange(len(unlabelled) + len(lenses)) >= len(unlabelled)
            kinds = np.append(group, np.full(len(lenses), "lens"))
            fit_support(head, np.concatenate([unlabelled, lenses]), kinds, rare, metric=metric)
            answer: npt.NDArray[Any] = head.classify(torch.from_numpy(asked)).numpy()
            return answer

        return scores

    return made


FORMS: Mapping[str, Callable[[npt.NDArray[Any]], Scorer]] = {
    **{f"{fit}, {space}": linear(space, fit) for space in SPACES for fit in FITS},
    **{f"support of {n} groups, {metric}": support(n, metric) for n in (8, 32) for metric in get_args(Metric)},
}
"""Every form of a probe by name: embeddings of unlabelled stamps -> a scorer."""


class _Given(Classifier):
    """A head whose embedding is what it is given."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.length = width

    def embed(self, x: Any) -> torch.Tensor:
        answer: torch.Tensor = x
        return answer

    def classify(self, embedding: torch.Tensor) -> torch.Tensor:
        return embedding[:, 0]
