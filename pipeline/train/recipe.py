"""From a survey to its ensemble: what a training TOML with `kind = "ensemble"` says.

A recipe names pools to simulate, members to train on different mixes of them, pools to calibrate on and an evaluation.
`load_recipe` checks it as a whole and makes each member's training configuration, before anything is started.
"""

from __future__ import annotations

import difflib
import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.config import StrictModel, expand, find, read_toml, validate
from pipeline.errors import ConfigError
from pipeline.io import products
from pipeline.models.cascade_config import Views
from pipeline.models.combination import Rule
from pipeline.scan_config import load_scan
from pipeline.splits import Split
from pipeline.train.config import TrainConfig
from pipeline.train.data_config import (
    BolognaConfig,
    CandidateListsConfig,
    CutoutsConfig,
    FoldersConfig,
    GradedConfig,
    PoolsConfig,
    SourceConfig,
    StampsConfig,
    TableConfig,
)
from pipeline.train.load import differing, read_training

KIND = "ensemble"


class PoolRecipe(StrictModel):
    """A pool to simulate, written once under `<output>/pools/<name>/`.

    Attributes
    ----------
    name : str
    config : str
        Simulation of stamps, or of injections, which go into the recipe's `scan`.
    n : int
        Stamps.
    seed : int
        Of no other pool of the recipe.
    split : "train", "validation" or "test"
        Of the sky and of the galaxies that are lensed, and what the pool may be used for: training, watching and
        calibrating, evaluating.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    config: str
    n: int = Field(ge=1)
    seed: int = Field(ge=0)
    split: Split


class PoolUse(SourceConfig):
    """A pool of the recipe, as a source of stamps."""

    kind: Literal["pool"] = "pool"
    pool: str


def _pool_by_name(value: Any) -> Any:
    if isinstance(value, str):
        return {"kind": "pool", "pool": value}
    return {"kind": "pool", **value} if isinstance(value, dict) and "pool" in value else value


_Labelled = PoolUse | PoolsConfig | FoldersConfig | TableConfig | GradedConfig | BolognaConfig | CandidateListsConfig

RecipeSource = Annotated[
    _Labelled,
    Field(discriminator="kind"),
    BeforeValidator(_pool_by_name),
]
"""`{ pool = NAME }`, or any source of labelled stamps of a training config; a plain string is a pool's name."""

AnyRecipeSource = Annotated[
    _Labelled | CutoutsConfig | StampsConfig,
    Field(discriminator="kind"),
    BeforeValidator(_pool_by_name),
]
"""Likewise, labels or none."""


class LengthRecipe(StrictModel):
    """How long a member trains, instead of its config's own: `epochs` or `steps`, see `OptimiserConfig`."""

    epochs: float | None = Field(None, gt=0)
    steps: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_of_them(self) -> LengthRecipe:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both")
        return self


class MemberRecipe(StrictModel):
    """One member.

    Attributes
    ----------
    config : str
        Training config: network, normalisation, method, augmentation; its own data are not read.
    name, seed : optional
        Instead of the config's.
    train, validation : tuple of sources
    unlabelled : tuple of sources, optional
        If not given: the cutouts of the recipe's scan in its training split for a config that reads some, else none.
    mix : mapping
        As `data.mix` of a training config.
    optimiser : LengthRecipe
    """

    config: str
    name: str | None = Field(None, pattern=r"^[a-z][a-z0-9_]*$")
    seed: int | None = Field(None, ge=0)
    train: tuple[RecipeSource, ...] = Field(min_length=1)
    validation: tuple[RecipeSource, ...] = Field(min_length=1)
    unlabelled: tuple[AnyRecipeSource, ...] | None = None
    mix: dict[str, float] = Field(default_factory=dict)
    optimiser: LengthRecipe = LengthRecipe()


class CalibrationRecipe(StrictModel):
    """How member scores become a probability.

    Attributes
    ----------
    pools : tuple of str
        Of split "validation": what members and rule are fitted on.
    rule : str
        One of `pipeline.models.combination.RULES`.
    method : "platt" or "beta"
        Of the calibrations of the members and of the rule.
    prior : float
        Share of lenses among the survey's detections: what the evaluation tells purities at.
    weigh : float
        Share of lenses that the pools are weighted to in every fit: a small one is right where candidates are.
    familiarity : bool
        Whether to fit what each member finds familiar, so that a scan can tell what is out of its distribution.
    """

    pools: tuple[str, ...] = Field(min_length=1)
    rule: Rule = "mean_log_odds"
    method: Literal["platt", "beta"] = "platt"
    prior: float = Field(1e-4, gt=0, lt=1)
    weigh: float = Field(0.01, gt=0, lt=1)
    familiarity: bool = True


class EvaluationRecipe(StrictModel):
    """What the ensemble is measured on.

    Attributes
    ----------
    config : str
        An evaluation config.
    samples : mapping of str to tuple of str
        Pools of the recipe, of split "test", that stand in for those of a sample of that config, by its name.
    """

    config: str
    samples: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(default_factory=dict)


class RecipeConfig(StrictModel):
    """An ensemble to be trained: `configs/training/*.toml` with `kind = "ensemble"`.

    Attributes
    ----------
    scan : str, optional
        Output folder of a scan of the survey, or the scan's config: its galaxies get the injected lenses, and its
        cutouts are the stamps without labels.
    workers : int
        Processes that write a pool.
    parallel : int
        Members that train at once, in processes with one thread each where there are several.
    views : 1, 2 or 4
        Quarter turns of a stamp that a score is the mean of, see `pipeline.models.ensemble.Ensemble`.
    """

    kind: Literal["ensemble"]
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    description: str
    output: str
    views: Views = 1
    scan: str | None = None
    workers: int = Field(2, ge=1)
    parallel: int = Field(1, ge=1)
    pools: tuple[PoolRecipe, ...] = Field(min_length=1)
    members: tuple[MemberRecipe, ...] = Field(min_length=1)
    calibration: CalibrationRecipe
    evaluation: EvaluationRecipe | None = None

    @model_validator(mode="after")
    def _pools_differ(self) -> RecipeConfig:
        for key in ("name", "seed"):
            seen: set[Any] = set()
            for value in (getattr(pool, key) for pool in self.pools):
                if value in seen:
                    raise ValueError(f"pools: two have {key} {value!r}; each needs its own")
                seen.add(value)
        return self


@dataclass(frozen=True)
class MemberPlan:
    """A member's training, checked; `values` are what `config` was made of, with units, for writing down."""

    config: TrainConfig
    values: dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A recipe, checked as a whole.

    Attributes
    ----------
    path : Path
        Of its file.
    config : RecipeConfig
    output : Path
    scan : Path or None
        Output folder of the survey's scan, with cutouts.
    members : tuple of MemberPlan
    """

    path: Path
    config: RecipeConfig
    output: Path
    scan: Path | None
    members: tuple[MemberPlan, ...]

    def folder(self, pool: str) -> Path:
        """Where a pool of the recipe lies."""
        return self.output / "pools" / pool

    def pattern(self, pool: str) -> str:
        """A pool of the recipe as a glob pattern."""
        return pool_pattern(self.output, pool)


def is_recipe(path: Path) -> bool:
    """Whether a training TOML is a recipe of an ensemble; raises ConfigError if it can't be read."""
    return read_toml(path).get("kind") == KIND


def load_recipe(path: Path, out: str | None = None) -> Recipe:
    """Read a recipe and check it, its members' configs and its scan.

    Parameters
    ----------
    path : Path
    out : str, optional
        Folder of everything, instead of the config's `output`.

    Raises
    ------
    ConfigError
        For a wrong key or value in the recipe or a member's config, a pool that is not there or is used for what its
        split is not, two members of one name, or a scan without output.
    """
    values = expand(read_toml(path), str(path))
    values["output"] = out or values.get("output")
    scan = _scan_output(values["scan"], path) if isinstance(values.get("scan"), str) else None
    _give_scan(values, scan)
    config = validate(RecipeConfig, values, str(path))
    _check_uses(config, path)
    output = Path(config.output)
    members = tuple(
        _planned(member, raw, output, scan, path) for member, raw in zip(config.members, values["members"], strict=True)
    )
    names = [member.config.name for member in members]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path}: two members are called {twice[0]!r}; give one of them another name.")
    return Recipe(path, config, output, scan, members)


def pool_pattern(output: Path, pool: str) -> str:
    """Glob pattern of a pool's shards in a recipe's output."""
    return f"{glob.escape(str(output / 'pools' / pool))}/pool-*.npz"


def _scan_output(reference: str, path: Path) -> Path:
    """The output folder of a scan that has cutouts."""
    folder = Path(reference)
    if not folder.is_dir():
        try:
            folder = Path(load_scan(find(reference, "scans", path.parent))[0].output)
        except ConfigError as error:
            raise ConfigError(f"{path}: scan is no output folder, and no config: {error}") from error
    fields = products.listing(folder)
    if not any("cutouts" in stages for stages in fields.values()):
        raise ConfigError(
            f"{path}: scan {reference!r} has no cutouts in {folder}; run `lensscan scan {reference}` first."
        )
    return folder


def _give_scan(values: dict[str, Any], scan: Path | None) -> None:
    """Let sources over cutouts that name no scan have the recipe's, in its training split if they have no labels."""
    members = values.get("members")
    for member in members if isinstance(members, list) else []:
        if not isinstance(member, dict):
            continue
        for key in ("train", "validation", "unlabelled"):
            sources = member.get(key)
            for source in sources if isinstance(sources, list) else []:
                if isinstance(source, dict) and source.get("kind") in ("cutouts", "table", "graded"):
                    if scan is not None:
                        source.setdefault("scan", str(scan))
                    if source["kind"] == "cutouts":
                        source.setdefault("part", "train")


def _check_uses(config: RecipeConfig, path: Path) -> None:
    """Refuse a pool that is not there, and one that is used for what its split is not."""
    splits: dict[str, Split] = {pool.name: pool.split for pool in config.pools}
    trained: dict[str, str] = {}
    uses: list[tuple[str, str, Split]] = []
    for number, member in enumerate(config.members):
        who = f"members.{number} ({member.name or member.config})"
        for key, split in (("train", "train"), ("unlabelled", "train"), ("validation", "validation")):
            used = _pools_of(getattr(member, key) or ())
            uses += [(f"{who}.{key}", pool, split) for pool in used]  # type: ignore[misc]
            if split == "train":
                trained |= dict.fromkeys(used, who)
    uses += [("calibration.pools", pool, "validation") for pool in config.calibration.pools]
    samples = {} if config.evaluation is None else config.evaluation.samples
    uses += [(f"evaluation.samples.{name}", pool, "test") for name, pools in samples.items() for pool in pools]
    for where, pool, split in uses:
        if pool not in splits:
            near = difflib.get_close_matches(pool, splits, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(splits)}."
            raise ConfigError(f"{path}: {where}: no pool {pool!r} in the recipe; {hint}")
        if split != "train" and pool in trained:
            raise ConfigError(
                f"{path}: {where}: {trained[pool]} trains on pool {pool!r}; simulate another one, of "
                f'split "{split}" and another seed.'
            )
        if splits[pool] != split:
            raise ConfigError(
                f'{path}: {where}: pool {pool!r} is of split "{splits[pool]}", this needs one of "{split}".'
            )


def _pools_of(sources: Iterable[SourceConfig]) -> list[str]:
    return [source.pool for source in sources if isinstance(source, PoolUse)]


def _planned(member: MemberRecipe, raw: dict[str, Any], output: Path, scan: Path | None, path: Path) -> MemberPlan:
    """A member's training config: its own TOML with the recipe's data, name, seed and length."""
    place = find(member.config, "training", path.parent)
    values = read_training(place)
    if values.get("kind") == KIND:
        raise ConfigError(f"{path}: member config {member.config!r} is a recipe of an ensemble; name one of a network.")
    data = dict(values.get("data", {}))
    data["train"] = [_source(source, output) for source in raw["train"]]
    data["validation"] = [_source(source, output) for source in raw["validation"]]
    if member.unlabelled is not None:
        data["unlabelled"] = [_source(source, output) for source in raw["unlabelled"]]
    elif data.get("unlabelled"):
        if scan is None:
            raise ConfigError(
                f"{path}: member config {member.config!r} reads stamps without labels; give the member "
                "`unlabelled`, or the recipe a `scan`."
            )
        data["unlabelled"] = [{"kind": "cutouts", "scan": str(scan), "part": "train"}]
    data["mix"] = member.mix
    values |= {"data": data, "output": str(output / "runs")}
    values |= {key: value for key, value in (("name", member.name), ("seed", member.seed)) if value is not None}
    length = {key: value for key, value in member.optimiser if value is not None}
    if length:
        values = differing(values, {"optimiser": length})
    return MemberPlan(validate(TrainConfig, values, f"{path}: member {member.config!r} ({place})"), values)


def _source(raw: Any, output: Path) -> dict[str, Any]:
    """A source as a training config has it."""
    values: dict[str, Any] = dict(_pool_by_name(raw))
    if values["kind"] == "pool":
        values |= {"kind": "pools", "pattern": pool_pattern(output, values.pop("pool"))}
    return values
