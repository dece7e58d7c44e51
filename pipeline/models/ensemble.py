"""Several members and the rule that makes one score of theirs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.config import find, load, shipped
from pipeline.errors import ConfigError, LensscanError, ModelMismatch
from pipeline.models.calibration import Calibration, log_odds, logit, odds_of, sigmoid
from pipeline.models.cascade import Cascade, CascadeConfig, Views
from pipeline.models.combination import Combination, Rule, check_rule, combine
from pipeline.models.ensemble_config import EnsembleConfig, MemberConfig
from pipeline.models.familiarity import read_familiarity
from pipeline.models.mapper import Mapper, MapperConfig
from pipeline.models.package import ModelCard, ModelPackage, find_package, load_package, read_card
from pipeline.provenance import fingerprint

Float32 = npt.NDArray[np.float32]

_LARGEST_SCALE_RATIO = 3.0
"""Pixels this many times coarser than the model's carry too little of an arc to be scored."""


@dataclass(frozen=True)
class Combined:
    """What an ensemble says of n detections; NaN where any member has no logit, in `members` where this one has none.

    Attributes
    ----------
    score : float32 (n,)
        Probability at the prior.
    score_std : float32 (n,)
        Standard deviation (population) of the members' probabilities; 0 for a single member.
    disagreement : float32 (n,)
        Standard deviation (population) of what each member finds in favour of a lens: its log likelihood ratio, 0
        where it speaks against one. Unlike `score_std` it doesn't vanish with the prior, and members that reject a
        detection with more or less force agree.
    members : float32 (n, members)
        Their probabilities at the prior.
    """

    score: Float32
    score_std: Float32
    disagreement: Float32
    members: Float32


@dataclass(frozen=True)
class Ensemble:
    """Trained members with their combination rule.

    Attributes
    ----------
    name : str
    members : tuple of ModelPackage
        In the order of the configuration, which is that of every array of members here.
    weights : tuple of float
        Of the members in the rules `mean` and `mean_log_odds`; only their ratios count.
    rule : str
        One of `pipeline.models.combination.RULES`.
    combination : Combination
        The rule's other parameters.
    calibration : Calibration or None
        Of the combined log likelihood ratio (of `rank`: of the log-odds of the mean rank).
    views : 1, 2 or 4
        How many quarter turns of a stamp a member's logit is the mean of: upright; and upside down; all four. The sky
        has no upright, a network has, and the mean is nearer what it would say of the object as such, at the cost of
        as many passes (test-time augmentation; Dieleman et al. 2015, MNRAS 450, 1441).
    mapper : Mapper or None
        Draws maps of candidates; it has no part in the score.
    cascade : Cascade or None
        Its gates stop stamps before the members see them, in scans that ask for it.
    """

    name: str
    members: tuple[ModelPackage, ...]
    weights: tuple[float, ...]
    rule: Rule
    combination: Combination = field(default_factory=Combination)
    calibration: Calibration | None = None
    views: Views = 1
    mapper: Mapper | None = None
    cascade: Cascade | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members, in order."""
        return tuple(member.name for member in self.members)

    def bands(self) -> tuple[str, ...]:
        """Every band that some member reads, each once."""
        return _bands(tuple(member.card for member in self.members))

    def check(self, bands: tuple[str, ...], *, pixel_scale: float | None = None, size_pix: int | None = None) -> None:
        """Refuse cutouts that the members can't read.

        Parameters
        ----------
        bands : tuple of str
            Canonical bands of the cutouts.
        pixel_scale : float, arcsec, optional
        size_pix : int, optional
            Side of the cutouts.

        Raises
        ------
        ModelMismatch
            For a missing band (naming the shipped ensembles that do fit the bands), pixels far coarser
            than a member's, or cutouts that cover less than half of a member's stamp.
        """
        drawers = () if self.mapper is None else (self.mapper.package,)
        gates = () if self.cascade is None else self.cascade.packages
        for member in (*self.members, *drawers, *gates):
            missing = [band for band in member.card.bands if band not in bands]
            if missing:
                raise ModelMismatch(
                    f"ensemble {self.name!r}: member {member.name!r} needs bands {', '.join(member.card.bands)}; "
                    f"the data have {', '.join(bands) or 'none'}: {', '.join(missing)} is missing. {_that_fit(bands)}"
                )
            if pixel_scale is None:
                continue
            if pixel_scale > _LARGEST_SCALE_RATIO * member.card.pixel_scale:
                raise ModelMismatch(
                    f"ensemble {self.name!r}: member {member.name!r} wants pixels of {member.card.pixel_scale:g} "
                    f"arcsec; {pixel_scale:g} arcsec is over {_LARGEST_SCALE_RATIO:g} times that. Train one for them."
                )
            side = member.card.size_pix * member.card.pixel_scale
            if size_pix is not None and 2 * (size_pix * pixel_scale) ** 2 < side**2:
                raise ModelMismatch(
                    f"ensemble {self.name!r}: member {member.name!r} reads {side:g} arcsec, the cutouts are "
                    f"{size_pix * pixel_scale:g} arcsec wide; set cutouts.size to {side:g} arcsec or more."
                )

    def fingerprint(self, cascade: bool = False) -> str:
        """Hash of what the logits depend on; calibration and rule don't count, the gates of a cascade that is on do.

        Raises
        ------
        ModelMismatch
            If there is to be a cascade and the ensemble has none.
        """
        gates = [self.gates().fingerprint()] if cascade else []
        return fingerprint([self.views, [[member.name, member.fingerprint()] for member in self.members], *gates])

    def gates(self) -> Cascade:
        """The cascade; raises ModelMismatch if the ensemble has none."""
        if self.cascade is None:
            raise ModelMismatch(
                f"ensemble {self.name!r} has no cascade, and score.cascade is true; fit one with `lensscan calibrate "
                f"{self.name} --cascade LOSS --gate MEMBER --pools GLOB`, or leave the key out."
            )
        return self.cascade

    def calibration_fingerprint(self) -> str:
        """Hash of what makes scores of logits, and shares of distances: calibrations, weights and rule."""
        return fingerprint(
            {
                "calibrations": [[member.name, member.calibration.model_dump()] for member in self.members],
                "weights": self.weights,
                "rule": self.rule,
                "combination": self.combination.model_dump(),
                "calibration": None if self.calibration is None else self.calibration.model_dump(),
                "familiarity": [
                    None if member.familiarity is None else member.familiarity.quantiles_identity()
                    for member in self.members
                ],
                **({} if self.cascade is None else {"cascade": self.cascade.calibration_fingerprint()}),
            }
        )

    def package_digests(self) -> dict[str, str]:
        """The sha256 of each member's weights, by name; what provenance carries."""
        return {member.name: member.weights_sha256 for member in self.members}

    def calibrated(self, logits: npt.NDArray[Any], prior: float) -> Float32:
        """Members' probabilities where a share `prior` of the detections are lenses.

        Parameters
        ----------
        logits : (n, members)
            Raw outputs; NaN stays NaN.
        prior : float in (0, 1)

        Returns
        -------
        float32 (n, members)

        Raises
        ------
        ConfigError
            If the prior is not inside (0, 1).
        ValueError
            If the second axis is not the members.
        """
        return sigmoid(self._log_odds(logits, prior)).astype(np.float32)

    def score(self, logits: npt.NDArray[Any], prior: float) -> Combined:
        """What the ensemble says where a share `prior` of the detections are lenses.

        Parameters
        ----------
        logits : (n, members)
            Raw outputs; NaN where a member has none.
        prior : float in (0, 1)

        Raises
        ------
        ConfigError
            If the prior is not inside (0, 1).
        ValueError
            If the second axis is not the members.
        """
        odds = self._log_odds(logits, prior)
        members = sigmoid(odds).astype(np.float32)
        combined = self._combined(np.asarray(logits), odds, members, prior)
        in_favour = np.maximum(odds - logit(prior), 0.0)
        return Combined(
            score=sigmoid(combined).astype(np.float32),
            score_std=members.astype(np.float64).std(axis=1).astype(np.float32),
            disagreement=in_favour.std(axis=1).astype(np.float32),
            members=members,
        )

    def unfamiliar(self, distances: npt.NDArray[Any]) -> Float32:
        """How far detections lie out of the members' distributions.

        Parameters
        ----------
        distances : (n, members)
            In the members' embeddings; NaN where a member has no familiarity or the detection could not be scored.

        Returns
        -------
        float32 (n,)
            Mean over the members that have a familiarity of the share of validation stamps that lie nearer, 0 to 1;
            NaN where one of them has no distance, and throughout if none has a familiarity.
        """
        values = self._of_members(distances)
        shares = [
            member.familiarity.share_nearer(values[:, column])
            for column, member in enumerate(self.members)
            if member.familiarity is not None
        ]
        if not shares:
            return np.full(len(values), np.nan, np.float32)
        answer: Float32 = np.stack(shares, axis=1).mean(axis=1)
        return answer

    def evidence(self, logits: npt.NDArray[Any], prior: float) -> npt.NDArray[np.float64]:
        """Log likelihood ratio of lens against other, float64 (n,), which no float32 rounds; parameters as `score`.

        Without a calibration, that of the rules `mean` and `rank` depends on the prior.
        """
        odds = self._log_odds(logits, prior)
        return self._combined(np.asarray(logits), odds, sigmoid(odds).astype(np.float32), prior) - logit(prior)

    def _combined(
        self, logits: npt.NDArray[Any], odds: npt.NDArray[np.float64], members: Float32, prior: float
    ) -> npt.NDArray[np.float64]:
        """The ensemble's log-odds (n,)."""
        combined = combine(
            self.rule,
            # The oldest rule reads what stands in the table, rounded as it is, so that old scores keep their bytes.
            odds_of(members) if self.rule == "mean_log_odds" else odds,
            logits,
            combination=self.combination,
            names=self.names,
            weights=self.weights,
            prior=prior,
        )
        if self.calibration is None:
            return combined
        return log_odds(combined if self.rule == "rank" else combined - logit(prior), self.calibration, prior)

    def _log_odds(self, logits: npt.NDArray[Any], prior: float) -> npt.NDArray[np.float64]:
        """Members' calibrated log-odds (n, members)."""
        if not 0 < prior < 1:
            raise ConfigError(f"prior must lie between 0 and 1, not {prior!r}.")
        values = self._of_members(logits)
        odds = np.empty(values.shape)
        for column, member in enumerate(self.members):
            odds[:, column] = log_odds(values[:, column], member.calibration, prior)
        return odds

    def _of_members(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != len(self.members):
            raise ValueError(f"expected shape (n, {len(self.members)}) for members {self.names}, not {array.shape}")
        return array


def load_ensemble(reference: str | Path, relative_to: Path | None = None) -> Ensemble:
    """Read an ensemble and its members' weights.

    Parameters
    ----------
    reference : str or Path
        Path of an ensemble TOML or name of a shipped one.
    relative_to : Path, optional
        Folder that a relative path starts from; the working directory if None.

    Raises
    ------
    ConfigError
        If the reference, its file, a member's card or calibration, or a parameter of the rule is wrong.
    ModelMismatch
        If a member's weights don't fit its card, two members share a name, or one shares no band with any other.
    """
    path = find(reference, "ensembles", relative_to)
    config = load(EnsembleConfig, path)
    members = tuple(_load_member(member, path.parent) for member in config.members)
    names = [member.name for member in members]
    if len(set(names)) != len(names):
        raise ModelMismatch(f"{path}: two members are called the same: {', '.join(names)}; rename one in its card.")
    _check_bands(path, members)
    try:
        check_rule(config.rule, config.combination, names, calibrated=config.calibration is not None)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}.") from error
    weights = tuple(member.weight for member in config.members)
    mapper = None if config.maps is None else _load_mapper(config.maps, path.parent)
    cascade = None if config.cascade is None else _load_cascade(config.cascade, path.parent)
    return Ensemble(
        name=config.name,
        members=members,
        weights=weights,
        rule=config.rule,
        combination=config.combination,
        calibration=config.calibration,
        views=config.views,
        mapper=mapper,
        cascade=cascade,
    )


def _load_member(config: MemberConfig, folder: Path) -> ModelPackage:
    """A member's package, with the calibration and familiarity that the ensemble gives it."""
    package = load_package(find_package(config.package, folder))
    if config.calibration is not None:
        package = replace(package, calibration=load(Calibration, folder / config.calibration))
    if config.familiarity is not None:
        package = replace(package, familiarity=read_familiarity(folder / config.familiarity))
    return package


def _load_mapper(config: MapperConfig, folder: Path) -> Mapper:
    return Mapper(load_package(find_package(config.package, folder)), config.joint)


def _load_cascade(config: CascadeConfig, folder: Path) -> Cascade:
    return Cascade(tuple(load_package(find_package(gate.package, folder)) for gate in config.gates), config)


def _check_bands(path: Path, members: tuple[ModelPackage, ...]) -> None:
    """Refuse members that look at different light altogether: no survey's stamp would be that of all."""
    for first in members:
        others = [other for other in members if other is not first]
        if others and not any(set(first.card.bands) & set(other.card.bands) for other in others):
            raise ModelMismatch(
                f"{path}: member {first.name!r} reads {', '.join(first.card.bands)} and shares no band with "
                f"{', '.join(other.name for other in others)} ({', '.join(_bands(tuple(o.card for o in others)))}); "
                f"make two ensembles of them."
            )


def ensembles_that_fit(bands: tuple[str, ...]) -> list[str]:
    """Names of the shipped ensembles whose every member finds its bands among `bands`; opens no weights."""
    fitting = []
    for name in shipped("ensembles"):
        path = find(name, "ensembles")
        try:
            config = load(EnsembleConfig, path)
            cards = tuple(read_card(find_package(member.package, path.parent)) for member in config.members)
        except LensscanError:
            # A broken ensemble fits nothing; whoever asks for it by name is told why.
            continue
        if set(_bands(cards)) <= set(bands):
            fitting.append(name)
    return fitting


def _that_fit(bands: tuple[str, ...]) -> str:
    fitting = ensembles_that_fit(bands)
    if fitting:
        return f"Shipped ensembles that fit: {', '.join(fitting)}."
    return "No shipped ensemble fits these bands; leave `ensemble` out to stop after the cutouts, or train one."


def _bands(cards: tuple[ModelCard, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(band for card in cards for band in card.bands))
