"""How galaxies for an injection are found in a folder of real stamps."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pipeline.config import Arcsec, Magnitude, StrictModel
from pipeline.sims.config.ranges import MagnitudeRange, Share


class SeeingChange(StrictModel):
    """FWHM of the PSF that stamps have, and of the one that they are brought to, for all bands."""

    own: Arcsec
    wanted: Arcsec

    @model_validator(mode="after")
    def _wider(self) -> SeeingChange:
        if self.wanted < self.own:
            raise ValueError(f"wanted ({self.wanted:g} arcsec) is sharper than the stamps' own ({self.own:g} arcsec)")
        return self


class FolderConfig(StrictModel):
    """Real stamps into which lenses are injected, in the place of a scan.

    Attributes
    ----------
    path : str
        Folder or array as `lensscan stamps` reads them; the bands are the config's.
    which : "centre" or "neighbours"
        The object in the middle of each stamp, or those well away from it.
    pixel_scale : arcsec
        Of the stamps.
    zero_point : mag, optional
        AB magnitude of one unit of the files without MAGZERO; without it their pixels are in nJy.
    size : arcsec
        Side of the cutouts; what a stamp doesn't have of one is missing.
    grid : arcsec, optional
        Pixels that cutouts are resampled to before anything is injected, such as those of another telescope.
    seeing : SeeingChange, optional
        What they are convolved to before, with a Gaussian.
    depth : band -> range of 5-sigma depths of a point source, AB
        Noise is added to stamps that are deeper than one drawn from it; needs `seeing`.
    aperture : arcsec
        Radius of the magnitudes.
    least_distance : arcsec
        Of a neighbour from the stamp's middle.
    most_missing : share of a neighbour's cutout that may lie off the stamp
    threshold, min_area_pix : float, int
        Of the detection of neighbours in the mean image: in units of its noise, and pixels of the stamp.
    """

    kind: Literal["stamps"]
    path: str = Field(min_length=1)
    which: Literal["centre", "neighbours"] = "centre"
    pixel_scale: Arcsec
    zero_point: Magnitude | None = None
    size: Arcsec
    grid: Arcsec | None = None
    seeing: SeeingChange | None = None
    depth: dict[str, MagnitudeRange] = Field(default_factory=dict)
    aperture: Arcsec = Field("1.5 arcsec", validate_default=True)
    least_distance: Arcsec = Field("5 arcsec", validate_default=True)
    most_missing: Share = 0.35
    threshold: float = Field(3.0, gt=0)
    min_area_pix: int = Field(5, ge=1)

    @model_validator(mode="after")
    def _depth_of_a_psf(self) -> FolderConfig:
        if self.depth and self.seeing is None:
            raise ValueError("depth is of point sources: give seeing too")
        return self
