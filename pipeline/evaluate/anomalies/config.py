"""What an evaluation of anomaly detectors is asked to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config import Arcsec, StrictModel, validate
from pipeline.evaluate.config import (
    BaselineConfig,
    GalleryConfig,
    PoolsConfig,
    Rate,
    RealLensesConfig,
    read_samples,
)

Mode = Literal["AD_analysis", "anomaly_classification"]


class LatentConfig(StrictModel):
    """The choice of the latent dimensions in which anomalies sit, and what is drawn of the latent space.

    Attributes
    ----------
    bins : int
        Of the distributions of a dimension that are compared, of equal numbers of stamps.
    sigmas : float
        A dimension is chosen if its chi-squared is so many standard deviations above the mean over all of them.
    points : int
        Stamps of each class that a plot of the latent space shows.
    reconstructions : int
        Stamps of each class that are shown beside what the network makes of them.
    """

    bins: int = Field(20, ge=2)
    sigmas: float = Field(1.5, gt=0)
    points: int = Field(300, ge=1)
    reconstructions: int = Field(6, ge=0)


class PointSourcesConfig(StrictModel):
    """Which neighbours in real stamps are point sources, and which are galaxies.

    A stamp's PSF is that of the sharpest significant object in it away from the middle, if it is as sharp as stars of
    the survey are; widths are the FWHM of the Gaussian that matches an object best (`pipeline.evaluate.anomalies
    .shapes`), in one band.

    Attributes
    ----------
    band : str
    fwhm : (arcsec, arcsec)
        Between which the FWHM of stars lies over the survey.
    least_snr : float
        Of the peak of an object, that its width counts for the PSF.
    point : float
        A neighbour up to so many times as wide as the PSF of its stamp is a point source,
    extended : float
        and one at least so many times as wide is a galaxy; those between are left out.
    """

    band: str = "i"
    fwhm: tuple[Arcsec, Arcsec] = Field(default=("0.9 arcsec", "1.3 arcsec"), validate_default=True)
    least_snr: float = Field(15.0, gt=0)
    point: float = Field(1.12, ge=1)
    extended: float = Field(1.3, ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> PointSourcesConfig:
        if self.fwhm[0] >= self.fwhm[1]:
            raise ValueError(f"fwhm: {self.fwhm[0]:g} arcsec is not below {self.fwhm[1]:g} arcsec")
        if self.point > self.extended:
            raise ValueError(f"point = {self.point:g} is above extended = {self.extended:g}")
        return self


SampleConfig = Annotated[PoolsConfig | RealLensesConfig, Field(discriminator="kind")]


class AnomaliesConfig(StrictModel):
    """One comparison of anomaly detectors.

    Attributes
    ----------
    name, description : str
    modes : tuple of "AD_analysis", "anomaly_classification"
        The first looks into the latent spaces, the second is the threshold study.
    packages : tuple of str
        Folders of trained packages, names of shipped ones, or patterns that match folders: any architecture, of which
        those with a latent space are analysed.
    seed, replicates : int
        Of the bootstrap.
    share : float
        Of anomalies, for which the first threshold is chosen: that of the study.
    prior : float
        Share of lensed quasars in a survey, for which the second is chosen.
    rates : tuple of float
        False-positive rates at which completeness is given.
    batch : int
    training : tuple of str
        Pools that the detectors were trained on, to prove that nothing is shared.
    point_like : tuple of str
        Kinds of simulated normals that are drawn as point sources, in plots of the latent space.
    shape_radius : arcsec
        Within which ellipticity, size and centroid are measured.
    validation : PoolsConfig
        Where thresholds and dimensions are chosen; no figure is of it.
    samples : tuple
        Pools, and real lenses in the middle of stamps: against point sources and against galaxies around them.
    """

    kind: Literal["anomalies"]
    name: str
    description: str = ""
    modes: tuple[Mode, ...] = Field(("AD_analysis", "anomaly_classification"), min_length=1)
    packages: tuple[str, ...] = Field(min_length=1)
    seed: int = 1
    replicates: int = Field(400, ge=50)
    share: Rate = 0.05
    prior: Rate = 1e-3
    rates: tuple[Rate, ...] = (0.1, 1e-2)
    batch: int = Field(256, ge=1)
    training: tuple[str, ...] = ()
    point_like: tuple[str, ...] = ()
    latent: LatentConfig = LatentConfig()
    points: PointSourcesConfig = PointSourcesConfig()
    baselines: BaselineConfig = BaselineConfig()
    shape_radius: Arcsec = Field("2 arcsec", validate_default=True)
    gallery: GalleryConfig = GalleryConfig()
    validation: PoolsConfig
    samples: tuple[SampleConfig, ...] = Field(min_length=1)

    @field_validator("samples")
    @classmethod
    def _names_differ(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [sample.name for sample in value]
        if len(set(names)) != len(names):
            raise ValueError("two have one name")
        return value


def load_anomalies(path: Path) -> tuple[AnomaliesConfig, dict[str, str]]:
    """A comparison's configuration, and the samples whose places are not known on this machine, as `load_evaluation`.

    Raises
    ------
    ConfigError
        If the file is wrong, naming key and value.
    """
    values, absent = read_samples(path)
    return validate(AnomaliesConfig, values, str(path)), absent
