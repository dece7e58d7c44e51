"""Which real galaxies are lensed, as a person writes it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config import Magnitude, StrictModel
from pipeline.sims.config.ranges import ArcsecRange, Range, Share
from pipeline.splits import USUAL_SHARES, Shares

Split = Literal["train", "validation", "test", "all"]


class SourcesConfig(StrictModel):
    """Which real galaxies are lensed.

    Attributes
    ----------
    hst : str
        Folder with the three files of the sample, by their names of old; `""` for none.
    hst_share : share
        Of the sources; the others are drawn as Sersic profiles with clumps.
    split : which part of the galaxies, by a hash of their ids; pools of different splits share none
    shares : share of each split
    redshift : range
    radius : arcsec
        Half-light radius on the sky before lensing, log-uniform.
    largest_zoom : float
        Most that a galaxy is enlarged for it: its HST resolution grows along.
    least_snr : float
        S/N of the whole galaxy in its stamp.
    largest_difference : mag
        Between the stamp's F814W flux and the catalogue's HSC i; more is another object's photometry, or a blend.
    largest_edge_share : share
        Of its flux in the outermost pixels of its stamp; more is a galaxy that is cut off.
    colours : `"catalogue"` for each galaxy's own, `"population"` for the population's.
    """

    hst: str = ""
    hst_share: Share = 0.5
    split: Split = "all"
    shares: Shares = Field(default=dict(USUAL_SHARES))
    redshift: Range = (0.5, 5.0)
    radius: ArcsecRange = Field(default=("0.10 arcsec", "0.45 arcsec"), validate_default=True)
    largest_zoom: float = Field(1.5, gt=0)
    least_snr: float = Field(15.0, ge=0)
    largest_difference: Magnitude = Field(default="0.75 mag", validate_default=True)
    largest_edge_share: Share = 0.03
    colours: Literal["catalogue", "population"] = "catalogue"
