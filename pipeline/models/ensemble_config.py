"""An ensemble as its TOML says it: `configs/ensembles/*.toml`."""

from __future__ import annotations

from pydantic import Field, model_validator

from pipeline.config import StrictModel
from pipeline.models.calibration import Calibration
from pipeline.models.cascade_config import CascadeConfig, Views
from pipeline.models.combination import Combination, Rule
from pipeline.models.fitter_config import FitterConfig
from pipeline.models.mapper_config import MapperConfig


class MemberConfig(StrictModel):
    """One member: a shipped package's name or a folder, and its weight in the rule.

    A member of weight 0 stands beside the rule, whichever that is: it is scored and calibrated and has a column of its
    own, and no part in the ensemble's score, in how far the members agree, or in what is out of their distribution.
    `calibration` and `familiarity` are files that stand in for the package's own, relative to the ensemble's.
    """

    package: str
    weight: float = Field(1.0, ge=0)
    calibration: str | None = None
    familiarity: str | None = None


class EnsembleConfig(StrictModel):
    """An ensemble as its TOML says it.

    `rule` combines the members' calibrated scores, with the parameters in `combination`. What comes out is in general
    not calibrated, even where every member is (Ranjan & Gneiting 2010, JRSS B 72, 71): `calibration` makes it so.
    `views` is part of what the calibrations were fitted to. `maps` and `parameters` are of candidates. `cascade` does
    nothing until a scan asks for it, nor does `embeddings`, which names the member whose embeddings put like beside
    like.
    """

    name: str
    description: str
    views: Views = 1
    rule: Rule = "mean_log_odds"
    members: tuple[MemberConfig, ...] = Field(min_length=1)
    combination: Combination = Combination()
    calibration: Calibration | None = None
    maps: MapperConfig | None = None
    parameters: FitterConfig | None = None
    cascade: CascadeConfig | None = None
    embeddings: str | None = None

    @model_validator(mode="after")
    def _each_once(self) -> EnsembleConfig:
        names = [member.package for member in self.members]
        if len(set(names)) != len(names):
            raise ValueError("names a member twice")
        if not any(member.weight for member in self.members):
            raise ValueError("every member has weight 0; give those of the rule another, or leave it out")
        return self
