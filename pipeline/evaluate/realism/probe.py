"""Can a line through a network's embedding tell one sample's lenses from another's?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluate.config import ProbeConfig
from pipeline.evaluate.figures import HIGH, LOW, Bootstrap, Figure, rank_figures
from pipeline.evaluate.logistic import class_weights, logistic_regression
from pipeline.evaluate.samples.sample import Part
from pipeline.evaluate.tally import tally
from pipeline.models.normalise import normalise
from pipeline.models.package import ModelPackage
from pipeline.models.resample import resample

_AT_ONCE, _HALVINGS = 64, 10


@dataclass(frozen=True)
class Probe:
    """How well a member's embedding tells the lenses of two samples apart: 0.5 not at all, 1 always.

    Attributes
    ----------
    member, first, second : str
        The network; the two samples. `n_lenses` of `auc` counts the first's lenses, `n_others` the second's.
    first_pixels, second_pixels : str
        Whose pixels they are; empty where it isn't said.
    like : bool
        Whether both are of the same survey: if not, the probe may tell nothing but the surveys.
    auc : Figure
    control : Figure
        The same probe between two random halves of the first sample: 0.5 but for noise.
    """

    member: str
    first: str
    second: str
    first_pixels: str
    second_pixels: str
    like: bool
    auc: Figure
    control: Figure


def embeddings(
    part: Part, member: ModelPackage, *, bands: tuple[str, ...], pixel_scale: float
) -> npt.NDArray[np.float32]:
    """What a member's last layer sees of some stamps.

    Parameters
    ----------
    part : Part
    member : ModelPackage
        Its network has `embed`.
    bands : tuple of str
        Of the stamps.
    pixel_scale : float, arcsec

    Returns
    -------
    float32 (n, d)
    """
    return embedded(*on_grid(part, member, bands=bands, pixel_scale=pixel_scale), member)


def on_grid(
    part: Part, member: ModelPackage, *, bands: tuple[str, ...], pixel_scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Stamps on a member's grid, in its bands, and which of their pixels are known: as `embeddings`."""
    card = member.card
    order = [bands.index(band) for band in card.bands]
    image, known = (torch.from_numpy(values[:, order]) for values in (part.image, part.known))
    pixels, kept, _ = resample(image, known, pixel_scale, card.size_pix, card.pixel_scale)
    return pixels, kept


def embedded(pixels: torch.Tensor, kept: torch.Tensor, member: ModelPackage) -> npt.NDArray[np.float32]:
    """Embeddings (n, d) of what `on_grid` gives, for a member whose network has `embed`."""
    network: Any = member.network
    place = next(member.network.parameters()).device
    answer = []
    with torch.inference_mode():
        for start in range(0, len(pixels), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            channels = normalise(pixels[rows], kept[rows], member.card.normalisation, member.card.pixel_scale)
            answer.append(network.embed(channels.to(place)).float().cpu().numpy())
    return np.concatenate(answer)


def probe(
    first: npt.NDArray[Any],
    second: npt.NDArray[Any],
    groups: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    config: ProbeConfig,
    *,
    replicates: int,
    seed: int,
) -> Figure:
    """Cross-validated AUC of a ridge-penalised logistic regression between two sets of embeddings.

    The classes weigh the same. Folds are made of groups, so that two stamps of one object never stand on both sides;
    the AUC is that of all held-out log-odds together, with a bootstrap interval over groups.

    Parameters
    ----------
    first, second : (n, d), (m, d)
    groups : ((n,), (m,))
        What belongs together, in each set.
    config : ProbeConfig
    replicates, seed : int

    Returns
    -------
    Figure
        `n_lenses` counts the first set, `n_others` the second; no value with fewer than two groups a fold in either.
    """
    n, m = len(first), len(second)
    rng = np.random.default_rng(seed)
    folds = [_folds(part, config.folds, rng) for part in groups]
    if min(len(np.unique(part)) for part in groups) < 2 * config.folds:
        reason = f"fewer than {2 * config.folds} groups of lenses in one of the samples"
        counts = n, m, len(np.unique(groups[0])), len(np.unique(groups[1]))
        return Figure("probe AUC", None, None, None, *counts, reason)
    x = np.concatenate([first, second]).astype(np.float64)
    truth, fold = np.arange(n + m) < n, np.concatenate(folds)
    answers = np.empty(n + m)
    for number in range(config.folds):
        held = fold == number
        centre, scale = x[~held].mean(axis=0), x[~held].std(axis=0) + 1e-9
        design = np.column_stack([(x - centre) / scale, np.ones(n + m)])
        target, even = truth[~held].astype(np.float64), class_weights(truth[~held], 0.5)
        answers[held] = design[held] @ logistic_regression(design[~held], target, even, ridge=config.ridge)
    mine, theirs = (np.unique(part, return_inverse=True)[1] for part in groups)
    counted = tally(answers, truth, np.concatenate([mine, theirs + n]))
    return replace(rank_figures(Bootstrap.of(counted, replicates, seed), ())[0], name="probe AUC")


def control(embedded: npt.NDArray[Any], groups: npt.NDArray[Any], config: ProbeConfig, *, seed: int) -> Figure:
    """The same probe between random halves of one sample, group by group: mean and 68 % range of ten halvings.

    Parameters as `probe`. The range holds the luck of the halving, which the bootstrap of one halving does not.
    """
    values = []
    counts = (0, 0, 0, 0)
    for number in range(_HALVINGS):
        half = _folds(groups, 2, np.random.default_rng([seed, number])) == 0
        pair = groups[half], groups[~half]
        counts = (len(pair[0]), len(pair[1]), len(np.unique(pair[0])), len(np.unique(pair[1])))
        found = probe(embedded[half], embedded[~half], pair, config, replicates=2, seed=seed)
        if found.value is None:
            return found
        values.append(found.value)
    low, high = np.quantile(values, [LOW, HIGH])
    return Figure("probe AUC", float(np.mean(values)), float(low), float(high), *counts)


def _folds(groups: npt.NDArray[Any], folds: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A fold for each row, the same for a group's rows, groups dealt out in random order."""
    _, number = np.unique(groups, return_inverse=True)
    dealt: npt.NDArray[np.int64] = np.arange(int(number.max(initial=-1)) + 1) % folds
    return rng.permutation(dealt)[number]
