"""Several members and the rule that makes one score of theirs, without their networks: what a plan needs of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.config import find, load, shipped
from pipeline.errors import ConfigError, LensscanError, ModelMismatch
from pipeline.models.calibration import Calibration
from pipeline.models.card import ModelCard, find_package, read_card
from pipeline.models.cascade_config import Views
from pipeline.models.combination import Combination, Rule, check_rule
from pipeline.models.described import (
    DescribedCascade,
    DescribedFitter,
    DescribedMapper,
    DescribedPackage,
    describe_package,
)
from pipeline.models.ensemble_config import EnsembleConfig, MemberConfig
from pipeline.models.familiarity_file import describe_familiarity
from pipeline.provenance import fingerprint


@dataclass(frozen=True)
class DescribedEnsemble:
    """Trained members with their combination rule, by their files.

    Attributes
    ----------
    name : str
    members : tuple of DescribedPackage
        In the order of the configuration, which is that of every array of members here.
    weights : tuple of float
        Of the members in the rules `mean` and `mean_log_odds`; only their ratios count. 0 in any rule: the member
        stands beside it, with a score of its own and no part in the ensemble's.
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
    mapper : DescribedMapper or None
        Draws maps of candidates; it has no part in the score.
    fitter : DescribedFitter or None
        Gives lens parameters of candidates; it has no part in the score.
    cascade : DescribedCascade or None
        Its gates stop stamps before the members see them, in scans that ask for it.
    embeddings : str or None
        Member whose embeddings put like beside like, for scans that keep some; None: the first one's of the rule.
    """

    name: str
    members: tuple[DescribedPackage, ...]
    weights: tuple[float, ...]
    rule: Rule
    combination: Combination = field(default_factory=Combination)
    calibration: Calibration | None = None
    views: Views = 1
    mapper: DescribedMapper | None = None
    fitter: DescribedFitter | None = None
    cascade: DescribedCascade | None = None
    embeddings: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members, in order."""
        return tuple(member.name for member in self.members)

    @property
    def ruling(self) -> tuple[int, ...]:
        """Numbers of the members that the rule is of; the others stand beside it."""
        return tuple(number for number, weight in enumerate(self.weights) if weight > 0)

    def bands(self) -> tuple[str, ...]:
        """Every band that some member reads, each once."""
        return _bands(tuple(member.card for member in self.members))

    def ruling_bands(self) -> tuple[str, ...]:
        """Every band that some member of the rule reads, each once."""
        return _bands(tuple(self.members[number].card for number in self.ruling))

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
        gates = () if self.cascade is None else self.cascade.packages
        for member in (*self.members, *self.measurers(), *gates):
            missing = [band for band in member.card.bands if band not in bands]
            if missing:
                raise ModelMismatch(
                    f"ensemble {self.name!r}: member {member.name!r} needs bands {', '.join(member.card.bands)}; "
                    f"the data have {', '.join(bands) or 'none'}: {', '.join(missing)} is missing. {_that_fit(bands)}"
                )
            if pixel_scale is None:
                continue
            member.check_pixels(pixel_scale, f"ensemble {self.name!r}: ")
            side = member.card.size_pix * member.card.pixel_scale
            if size_pix is not None and 2 * (size_pix * pixel_scale) ** 2 < side**2:
                raise ModelMismatch(
                    f"ensemble {self.name!r}: member {member.name!r} reads {side:g} arcsec, the cutouts are "
                    f"{size_pix * pixel_scale:g} arcsec wide; set cutouts.size to {side:g} arcsec or more."
                )

    def measurers(self) -> tuple[DescribedPackage, ...]:
        """The networks that look at candidates once more: who draws maps, and who gives lens parameters."""
        return tuple(one.package for one in (self.mapper, self.fitter) if one is not None)

    def fingerprint(self, cascade: bool = False) -> str:
        """Hash of what the logits depend on; calibration and rule don't count, the gates of a cascade that is on do.

        Raises
        ------
        ModelMismatch
            If there is to be a cascade and the ensemble has none.
        """
        gates = [self.gates().fingerprint()] if cascade else []
        return fingerprint([self.views, [[member.name, member.fingerprint()] for member in self.members], *gates])

    def gates(self) -> DescribedCascade:
        """The cascade; raises ModelMismatch if the ensemble has none."""
        if self.cascade is None:
            raise ModelMismatch(
                f"ensemble {self.name!r} has no cascade, and score.cascade is true; fit one with `lensscan calibrate "
                f"{self.name} --cascade LOSS --gate MEMBER --pools GLOB`, or leave the key out."
            )
        return self.cascade

    def embedder(self, asked: bool | str) -> int | None:
        """Number of the member whose embeddings a scan keeps; None if it keeps none.

        Parameters
        ----------
        asked : bool or str
            A member's name, True for the ensemble's own choice, or False.

        Raises
        ------
        ModelMismatch
            If there is no such member.
        """
        if asked is False:
            return None
        name = asked if isinstance(asked, str) else self.embeddings or self.names[self.ruling[0]]
        if name not in self.names:
            raise ModelMismatch(
                f"ensemble {self.name!r} has no member {name!r} to make embeddings; set score.embeddings to true, or "
                f"to one of {', '.join(self.names)}."
            )
        return self.names.index(name)

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


def describe_ensemble(reference: str | Path, relative_to: Path | None = None) -> DescribedEnsemble:
    """Read an ensemble and what its members' files say of them; no network is made.

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
        If a member's weights can't be read, two members share a name, or one shares no band with any other.
    """
    path = find(reference, "ensembles", relative_to)
    config = load(EnsembleConfig, path)
    members = tuple(_describe_member(member, path.parent) for member in config.members)
    check_members(path, config, members)
    mapper = fitter = cascade = None
    if config.maps is not None:
        mapper = DescribedMapper(describe_package(find_package(config.maps.package, path.parent)), config.maps.joint)
    if config.parameters is not None:
        fitter = DescribedFitter(
            describe_package(find_package(config.parameters.package, path.parent)), config.parameters
        )
    if config.cascade is not None:
        gates = tuple(describe_package(find_package(gate.package, path.parent)) for gate in config.cascade.gates)
        cascade = DescribedCascade(gates, config.cascade)
    return DescribedEnsemble(
        name=config.name,
        members=members,
        weights=tuple(member.weight for member in config.members),
        rule=config.rule,
        combination=config.combination,
        calibration=config.calibration,
        views=config.views,
        mapper=mapper,
        fitter=fitter,
        cascade=cascade,
        embeddings=config.embeddings,
    )


def check_members(path: Path, config: EnsembleConfig, members: tuple[DescribedPackage, ...]) -> None:
    """Refuse members that don't go together, or not by the rule.

    Raises
    ------
    ConfigError
        If a parameter of the rule is wrong, or `embeddings` names no member.
    ModelMismatch
        If two members share a name, or one shares no band with any other.
    """
    names = [member.name for member in members]
    if len(set(names)) != len(names):
        raise ModelMismatch(f"{path}: two members are called the same: {', '.join(names)}; rename one in its card.")
    _check_bands(path, members)
    if config.embeddings is not None and config.embeddings not in names:
        raise ConfigError(f"{path}: embeddings = {config.embeddings!r} is no member; members: {', '.join(names)}.")
    ruling = [name for name, member in zip(names, config.members, strict=True) if member.weight > 0]
    try:
        check_rule(config.rule, config.combination, ruling, calibrated=config.calibration is not None)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}.") from error


def _describe_member(config: MemberConfig, folder: Path) -> DescribedPackage:
    """A member, with the calibration and familiarity that the ensemble gives it."""
    package = describe_package(find_package(config.package, folder))
    if config.calibration is not None:
        package = replace(package, calibration=load(Calibration, folder / config.calibration))
    if config.familiarity is not None:
        package = replace(package, familiarity=describe_familiarity(folder / config.familiarity))
    return package


def _check_bands(path: Path, members: tuple[DescribedPackage, ...]) -> None:
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
