"""How a survey's PSF is told."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config import Arcsec, StrictModel
from pipeline.sims.config.ranges import MagnitudeRange


class MoffatPsf(StrictModel):
    """A round Moffat profile: FWHM by band, and beta."""

    kind: Literal["moffat"]
    fwhm: dict[str, Arcsec]
    beta: float = Field(3.5, gt=1)


class MeasuredPsf(StrictModel):
    """Stacked from the stars among a field's cutouts.

    Attributes
    ----------
    magnitude : AB, of the detection band
        Between the stars that saturate and those that are too faint.
    radius : arcsec
        Half the side of the PSF's image.
    locus_width : float
        Of the stars' sizes, natural log.
    least_stars : int
    """

    kind: Literal["measured"]
    magnitude: MagnitudeRange = Field(default=("17.5 mag", "21.0 mag"), validate_default=True)
    radius: Arcsec = Field("4 arcsec", validate_default=True)
    locus_width: float = Field(0.16, gt=0)
    least_stars: int = Field(5, ge=1)


class PsfexPsf(StrictModel):
    """PSFEx files, one a field and band; `{field_id}` and `{band}` in the path are filled in."""

    kind: Literal["psfex"]
    path: str = Field(min_length=1)


PsfConfig = Annotated[MoffatPsf | MeasuredPsf | PsfexPsf, Field(discriminator="kind")]
