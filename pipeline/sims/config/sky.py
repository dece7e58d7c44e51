"""What a synthetic survey is told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config import Arcsec, Degrees, StrictModel
from pipeline.sims.config.names import ARTEFACTS, Bands, check_names
from pipeline.sims.config.observing import Conditions, Rendering, check_conditions
from pipeline.sims.config.population import Population
from pipeline.sims.config.ranges import Share


class FieldLayout(StrictModel):
    """Where the fields of a sky are: a grid of `columns` x `rows`, on one tangent plane."""

    ra: Degrees
    dec: Degrees
    columns: int = Field(ge=1)
    rows: int = Field(ge=1)
    size: int = Field(ge=64)
    overlap: int = Field(ge=0)

    @model_validator(mode="after")
    def _overlap_fits(self) -> FieldLayout:
        if self.overlap * 2 > self.size:
            raise ValueError(f"overlap {self.overlap} px is more than half of the fields' size {self.size} px")
        return self


class SkyConfig(StrictModel):
    """A synthetic survey.

    Attributes
    ----------
    name, release : str
        Of the survey that is written.
    seeing : band -> arcsec
    lenses : number planted in the whole survey
    lens_clear_share : share
        Of these, planted with theta_E above `lens_clear_theta_E` and arc S/N above `lens_clear_snr`.
    artefacts : class -> number a field
    mask_plane : list of PixelFlag names
        Flags that the survey's own mask plane tells of; empty for a survey without one.
    templates : int
        Galaxies rendered a magnitude bin; fields are filled with shifted, flipped and turned copies.
    strip : rows that are in memory at once
    truth_masks : whether to write what artefacts touched, as one more plane a field
    """

    kind: Literal["sky"]
    name: str = Field(min_length=1)
    release: str = Field(min_length=1)
    bands: Bands
    layout: FieldLayout
    pixel_scale: Arcsec
    seeing: dict[str, Arcsec]
    moffat_beta: float = Field(gt=1)
    lenses: int = Field(ge=0)
    lens_clear_share: Share
    lens_clear_theta_E: Arcsec
    lens_clear_snr: float
    lens_stamp: Arcsec
    artefacts: dict[str, int]
    mask_plane: tuple[str, ...]
    templates: int = Field(ge=1)
    strip: int = Field(ge=64)
    truth_masks: bool
    conditions: Conditions
    rendering: Rendering
    population: Population

    @model_validator(mode="after")
    def _consistent(self) -> SkyConfig:
        check_conditions(self.bands, self.conditions)
        check_names(self.artefacts, ARTEFACTS, "artefacts")
        without = [band for band in self.bands if band not in self.seeing]
        if without:
            raise ValueError(f'no seeing for band {", ".join(without)}; add {without[0]} = "0.9 arcsec" to it')
        return self
