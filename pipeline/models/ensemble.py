"""Several members and the rule that makes one score of theirs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from pipeline.config import find, load
from pipeline.errors import ConfigError
from pipeline.models.calibration import Calibration, log_odds, logit, odds_of, sigmoid
from pipeline.models.card import find_package
from pipeline.models.cascade import Cascade
from pipeline.models.cascade_config import CascadeConfig
from pipeline.models.combination import combine
from pipeline.models.described_ensemble import DescribedEnsemble, check_members
from pipeline.models.ensemble_config import EnsembleConfig, MemberConfig
from pipeline.models.familiarity import read_familiarity
from pipeline.models.fitter import Fitter
from pipeline.models.fitter_config import FitterConfig
from pipeline.models.mapper import Mapper
from pipeline.models.mapper_config import MapperConfig
from pipeline.models.package import ModelPackage, load_package

Float32 = npt.NDArray[np.float32]
_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True)
class Combined:
    """What an ensemble says of n detections; NaN where any member has no logit, in `members` where this one has none.

    But for `members`, those that stand beside the rule, with weight 0, count for nothing.

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
class Ensemble(DescribedEnsemble):
    """An ensemble with its members' networks; attributes as in `DescribedEnsemble`."""

    members: tuple[ModelPackage, ...]
    mapper: Mapper | None = None
    fitter: Fitter | None = None
    cascade: Cascade | None = None

    def gates(self) -> Cascade:
        """The cascade; raises ModelMismatch if the ensemble has none."""
        return cast("Cascade", super().gates())

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
        in_favour = np.maximum(self.ruled(odds) - logit(prior), 0.0)
        return Combined(
            score=sigmoid(combined).astype(np.float32),
            score_std=self.ruled(members).astype(np.float64).std(axis=1).astype(np.float32),
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
            Mean over the members of the rule that have a familiarity of the share of validation stamps that lie
            nearer, 0 to 1; NaN where one of them has no distance, and throughout if none has a familiarity.
        """
        values = self._of_members(distances)
        shares = [
            familiarity.share_nearer(values[:, column])
            for column in self.ruling
            if (familiarity := self.members[column].familiarity) is not None
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

    def ruled(self, values: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        """The columns (n, k) of the members that the rule is of, laid out as if there were no others.

        A sum over them has the same bytes whoever stands beside.
        """
        return np.ascontiguousarray(values[:, list(self.ruling)])

    def without_beside(self) -> Ensemble:
        """The ensemble of the members that the rule is of alone."""
        members = tuple(self.members[column] for column in self.ruling)
        return replace(self, members=members, weights=tuple(self.weights[column] for column in self.ruling))

    def _combined(
        self, logits: npt.NDArray[Any], odds: npt.NDArray[np.float64], members: Float32, prior: float
    ) -> npt.NDArray[np.float64]:
        """The ensemble's log-odds (n,)."""
        combined = combine(
            self.rule,
            # The oldest rule reads what stands in the table, rounded as it is, so that old scores keep their bytes.
            odds_of(self.ruled(members)) if self.rule == "mean_log_odds" else self.ruled(odds),
            self.ruled(logits),
            combination=self.combination,
            names=[self.names[column] for column in self.ruling],
            weights=[self.weights[column] for column in self.ruling],
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
    check_members(path, config, members)
    weights = tuple(member.weight for member in config.members)
    mapper = None if config.maps is None else _load_mapper(config.maps, path.parent)
    fitter = None if config.parameters is None else _load_fitter(config.parameters, path.parent)
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
        fitter=fitter,
        cascade=cascade,
        embeddings=config.embeddings,
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


def _load_fitter(config: FitterConfig, folder: Path) -> Fitter:
    return Fitter(load_package(find_package(config.package, folder)), config)


def _load_cascade(config: CascadeConfig, folder: Path) -> Cascade:
    return Cascade(tuple(load_package(find_package(gate.package, folder)) for gate in config.gates), config)
