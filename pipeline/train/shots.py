"""A new scored column of a rare kind from a few stamps: a support set on a trained embedding, without training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.config import validate
from pipeline.errors import ConfigError
from pipeline.evaluate.calibration.fit import fit_platt
from pipeline.evaluate.metrics import auroc, completeness_at_fpr
from pipeline.models import SUPPORT
from pipeline.models.calibration import Calibration
from pipeline.models.card import Metric, ModelCard
from pipeline.models.layers import Network
from pipeline.models.package import ModelPackage
from pipeline.models.support import support_of, with_support
from pipeline.models.support_fit import clusters, fit_support
from pipeline.provenance import fingerprint

FEWEST_SHOTS, FEWEST_OTHERS = 2, 200
"""Stamps of the rare kind and of the background without which nothing is made: one must be left out and told by the
others, and a hundred others must say how often a false alarm is."""

PRIOR = 0.01
"""Share of the rare kind at which the calibration is fitted: right among the others that look most like it."""

_PROTOTYPES, _EACH = 32, 10
"""Of the background, and stamps for each of them at least: so many that groups of galaxies, stars and artefacts have
their own."""


@dataclass(frozen=True)
class Shots:
    """What was made of a few stamps.

    Attributes
    ----------
    network : Network
        The package's, with the new support set.
    calibration : Calibration
    left_out : float32 (n,)
        Logit of each stamp of the kind by a support set without it.
    background : float32 (m,)
        Logits of background stamps that no prototype is made of.
    """

    network: Network
    calibration: Calibration
    left_out: npt.NDArray[np.float32]
    background: npt.NDArray[np.float32]


def fit_shots(
    package: ModelPackage,
    shots: npt.NDArray[Any],
    looks: npt.NDArray[Any],
    background: npt.NDArray[Any],
    name: str,
    seed: int = 0,
) -> Shots:
    """Put a support set on a package's embedding, and calibrate it on stamps that the set is not made of.

    A random half of the background makes the prototypes of what is none, the other half says what they score. Each
    stamp of the rare kind is scored by a set without it, from one look at it, as a scan has. Slope and offset are
    Platt's, with targets softened as his are: few stamps of the kind hold the log-odds in, and the background's half
    sets the false alarms.

    Parameters
    ----------
    package : ModelPackage
        Its own support set, where it has one, is not kept; nothing of it is changed.
    shots : float32 (n, d)
        Embeddings of the examples, each the mean over several looks.
    looks : float32 (n, d)
        Embeddings of the same stamps as they stand: a mean lies nearer its kind than any object that is scored.
    background : float32 (m, d)
        Embeddings.
    name : str
        Of the kind.
    seed : int
        Of the halves and the background's groups.

    Raises
    ------
    ConfigError
        With fewer than `FEWEST_SHOTS` or `FEWEST_OTHERS` stamps, or a kind that the embedding ranks below the
        background.
    """
    if len(shots) < FEWEST_SHOTS or len(background) < FEWEST_OTHERS:
        raise ConfigError(
            f"{name}: {len(shots)} stamps of the kind and {len(background)} of the background; give at least "
            f"{FEWEST_SHOTS} and {FEWEST_OTHERS}."
        )
    half = np.random.default_rng(seed).permutation(len(background)) < len(background) // 2
    base, held = background[half], background[~half]
    group = clusters(base, min(_PROTOTYPES, len(base) // _EACH), seed)
    network = with_support(copy.deepcopy(package.network), 1 + len(np.unique(group))).eval().requires_grad_(False)

    def answers(examples: npt.NDArray[Any], asked: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Logits of some embeddings by a set of these examples, which stays in the network."""
        kinds = np.concatenate([np.full(len(examples), name), group.astype(str)])
        rare = np.arange(len(kinds)) < len(examples)
        fit_support(support_of(network), np.concatenate([examples, base]), kinds, rare)
        logits: npt.NDArray[np.float32] = network.head.classify(torch.from_numpy(asked)).numpy()
        return logits

    left_out = np.concatenate([answers(np.delete(shots, row, 0), looks[row : row + 1]) for row in range(len(shots))])
    others = answers(shots, held)
    calibration = fit_platt(
        np.concatenate([left_out, others]),
        np.arange(len(left_out) + len(others)) < len(left_out),
        f"{len(shots)} stamps of {name}, each by the others, and {len(others):,} background stamps",
        prior=PRIOR,
        fewest=FEWEST_SHOTS,
    )
    return Shots(network, calibration, left_out, others)


def shots_card(package: ModelPackage, made: Shots, name: str, command: str, sources: Sequence[str]) -> ModelCard:
    """The card of the new package, which says how little its figures rest on.

    Parameters
    ----------
    package : ModelPackage
        Whose embedding it is.
    made : Shots
    name : str
        Of the kind and of the package.
    command : str
        That made it.
    sources : sequence of str
        What the stamps were, for the fingerprint: their hashes.

    Raises
    ------
    ConfigError
        For a name that can't be a column's.
    """
    card, head = package.card, support_of(made.network)
    n, m = len(made.left_out), len(made.background)
    logits = np.concatenate([made.left_out, made.background])
    lens = np.arange(n + m) < n
    above = np.array([(made.background >= logit).mean() for logit in made.left_out])
    sample = f"{n} stamps of the kind, each told by the other {n - 1}, and {m:,} background stamps"
    figures = {
        "auroc": auroc(logits, lens),
        "completeness at 1 % false positives": completeness_at_fpr(logits, lens, 0.01),
        "completeness at 0.1 % false positives": completeness_at_fpr(logits, lens, 0.001),
    }
    values = {
        **dict(card),
        "pixel_scale": f"{card.pixel_scale!r} arcsec",
        "name": name,
        "arguments": {**card.arguments, SUPPORT: len(head.counts)},
        "output": f"log-odds that the object in the centre is like the {n} stamps of {name}, not the background",
        "training": f"{command}: no training; the embedding is {card.name}'s ({package.weights_sha256[:12]})",
        "training_fingerprint": fingerprint([package.weights_sha256, name, *sources]),
        "metrics": tuple(
            Metric(name=key, value=round(e.value, 4), low=round(e.low, 4), high=round(e.high, 4), sample=sample)
            for key, e in figures.items()
        ),
        "notes": (
            f"Made of {n} stamps: the calibration's slope and the figures rest on as many answers, each by a set "
            "without that stamp, and are little known. The false-alarm side rests on "
            f"{m:,} background stamps: nothing below a share of {1 / m:.2g} is known of it.",
            "Background stamps that score at least as high as each left-out stamp: "
            f"{', '.join(f'{100 * share:.2g} %' for share in np.sort(above))}.",
            "The background was taken to hold none of the kind.",
            *(f"Of {card.name}: {note}" for note in card.notes),
        ),
    }
    return validate(ModelCard, values, f"--name {name}")
