"""What an injection of lenses into real pixels is told."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.config import Arcsec, Degrees, Magnitude, StrictModel
from pipeline.sims.config.folder import FolderConfig
from pipeline.sims.config.names import Bands
from pipeline.sims.config.observing import Rendering
from pipeline.sims.config.population import Population
from pipeline.sims.config.psf import PsfConfig
from pipeline.sims.config.ranges import MagnitudeRange, Share
from pipeline.sims.config.sources import SourcesConfig, Split
from pipeline.splits import USUAL_CELL, USUAL_SHARES, Shares

INJECTION_KINDS = ("lens", "deflector", "detection")
"""A galaxy with an injected lensed source; one of the same galaxies as it is; any detection as it is."""


class SkySplit(StrictModel):
    """Which part of the sky is used: HEALPix cells of about `cell` on a side, dealt out by a hash of their number.

    A stamp that reaches into a cell of another split is left out, so that splits share no pixel. Of a folder of stamps
    it is the files that are dealt out, by a hash of their names.
    """

    split: Split = "all"
    cell: Degrees = Field(USUAL_CELL, validate_default=True, gt=0)
    shares: Shares = Field(default=dict(USUAL_SHARES))


class DeflectorChoice(StrictModel):
    """Which detections are galaxies that lenses are made of.

    Attributes
    ----------
    magnitude : AB, of the detection band, as the scan's apertures have it
    colours : `"g-r"`-like name -> range, magnitudes
        All must hold; empty for galaxies of any colour.
    least_size : float
        Size of the light over that of the PSF, measured alike; stars are at 1.
    centre_radius : arcsec
        Without a fatal flag in any band.
    least_valid : share of the stamp's pixels with data, in every band
    aperture_correction : mag
        Added to an aperture magnitude to make it the total one that velocity dispersions go by.
    """

    magnitude: MagnitudeRange
    colours: dict[str, MagnitudeRange] = Field(default_factory=dict)
    least_size: float = Field(1.12, ge=1)
    centre_radius: Arcsec = Field("3 arcsec", validate_default=True)
    least_valid: Share = 0.8
    aperture_correction: Magnitude = Field("-0.25 mag", validate_default=True)


class MassChoice(StrictModel):
    """Where Einstein radii come from.

    With "dispersion" a galaxy's follows from its magnitude, the redshift that its colours have on the red sequence and
    the source's redshift. With "population" it is drawn from the population's distribution, which is flatter than
    nature's, up to `most` times the galaxy's own: small fields hold few galaxies of the mass of most known lenses, and
    a training set needs many faces. Every galaxy for which there is a radius to draw is as frequent as any other.
    """

    theta_E: Literal["dispersion", "population"] = "population"
    most: float = Field(6.0, gt=0)


def _measured_or_number(value: Any) -> Any:
    if value == "measured" or (isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 0.7):
        return value
    raise ValueError(f'needs "measured" or a weight from 0 to 0.7, not {value!r}')


class NoiseConfig(StrictModel):
    """The photon noise of what is injected.

    Attributes
    ----------
    gain : band -> electrons a nJy
        Effective, of the coadd.
    sky_brightness : band -> mag a square arcsecond
        For the bands without a gain: the sky noise of a stamp is taken to be that of this sky's photons.
    correlation : `"measured"` or a number
        Weight of neighbouring pixels in one another (`render.conditions.correlated_noise`); measured from the
        correlation of neighbouring empty pixels of a field's cutouts.
    """

    gain: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    sky_brightness: dict[str, Magnitude] = Field(default_factory=dict)
    correlation: Annotated[float | Literal["measured"], BeforeValidator(_measured_or_number)] = "measured"


class InjectionConfig(StrictModel):
    """A pool of stamps made of a scan's cutouts, or of a folder of stamps.

    Attributes
    ----------
    scans : tuple of str
        Scan configs or their output folders; relative to the working directory.
    galaxies : FolderConfig, optional
        A folder of real stamps in the place of scans.
    bands, detection_band : as in `SimsConfig`
    size, pixel_scale : pixels, arcsec
        Of the pool; cutouts are resampled to it as models resample them.
    lens_share : share of lenses
    deflector_share : share of the galaxies without a lens among the negatives; the others are any detections
    stamps, shard : stamps in all, and a file
    most_objects : int
        Detections that are used at most; of a larger scan a part that is drawn by a hash of their ids.
    """

    kind: Literal["injection"]
    scans: tuple[str, ...] = ()
    galaxies: FolderConfig | None = None
    bands: Bands
    detection_band: str
    size: int = Field(ge=16)
    pixel_scale: Arcsec
    stamps: int = Field(ge=1)
    shard: int = Field(ge=1)
    lens_share: Share
    deflector_share: Share
    most_objects: int = Field(50_000, ge=1)
    sky: SkySplit = SkySplit()
    deflectors: DeflectorChoice
    mass: MassChoice = MassChoice()
    psf: PsfConfig
    noise: NoiseConfig
    sources: SourcesConfig = SourcesConfig()
    rendering: Rendering
    population: Population

    @model_validator(mode="after")
    def _consistent(self) -> InjectionConfig:
        if bool(self.scans) == (self.galaxies is not None):
            raise ValueError("give either scans or galaxies")
        if self.galaxies and self.galaxies.depth and (shallow := set(self.bands) - set(self.galaxies.depth)):
            raise ValueError(f"galaxies.depth has no band {', '.join(sorted(shallow))}")
        if self.detection_band not in self.bands:
            raise ValueError(f"detection_band {self.detection_band!r} is not among bands {', '.join(self.bands)}")
        silent = [b for b in self.bands if b not in self.noise.gain and b not in self.noise.sky_brightness]
        if silent:
            raise ValueError(f"noise has no gain and no sky_brightness for band {', '.join(silent)}")
        for name in self.deflectors.colours:
            first, _, second = name.partition("-")
            if first not in self.bands or second not in self.bands:
                raise ValueError(f'deflectors.colours has {name!r}; write two of {", ".join(self.bands)} as "g-r"')
        if self.psf.kind == "moffat" and (missing := [b for b in self.bands if b not in self.psf.fwhm]):
            raise ValueError(f"psf.fwhm has no band {', '.join(missing)}")
        return self
