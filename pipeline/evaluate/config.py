"""What an evaluation is asked to do: samples in three columns, and how their figures are made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config import Arcsec, Degrees, Magnitude, StrictModel, expand, read_toml, validate
from pipeline.errors import ConfigError
from pipeline.splits import USUAL_CELL, USUAL_SHARES, Shares, Split

Column = Literal["simulations", "injections", "real"]
COLUMNS: Mapping[Column, str] = {
    "simulations": "own simulations",
    "injections": "injections into real pixels",
    "real": "real lenses",
}
"""The columns that figures stand in, in order; never averaged with one another."""

Rate = Annotated[float, Field(gt=0, lt=1)]


class BaselineConfig(StrictModel):
    """Apertures of the one-number baselines."""

    core: Arcsec = Field("1 arcsec", validate_default=True)
    ring_inner: Arcsec = Field("1.2 arcsec", validate_default=True)
    ring_outer: Arcsec = Field("3.5 arcsec", validate_default=True)
    aperture: Arcsec = Field("1.5 arcsec", validate_default=True)

    @model_validator(mode="after")
    def _a_ring(self) -> BaselineConfig:
        if self.ring_outer <= self.ring_inner:
            raise ValueError(f"ring_outer ({self.ring_outer:g} arcsec) must exceed ring_inner ({self.ring_inner:g})")
        return self


class ProbeConfig(StrictModel):
    """The linear probe between lenses of two samples: at most `limit` of each, of like magnitude within `caliper`."""

    limit: int = Field(1000, ge=20)
    caliper: Magnitude = Field("0.25 mag", validate_default=True, gt=0)
    folds: int = Field(5, ge=2)
    ridge: float = Field(10.0, gt=0)


class ReliabilityConfig(StrictModel):
    """Bins of the reliability over the best detections."""

    share: Rate = 0.01
    bins: int = Field(8, ge=1)


class GalleryConfig(StrictModel):
    """How many stamps the report shows of each kind, and how wide."""

    stamps: int = Field(12, ge=0, le=200)
    size: Arcsec = Field("18 arcsec", validate_default=True)


class _SampleConfig(StrictModel):
    name: str = Field(min_length=1)
    column: Column
    pixels: str = ""
    against: tuple[str, ...] = ()
    clearest: str | None = None


class PoolsConfig(_SampleConfig):
    """Stamps of pools (`lensscan simulate`).

    Attributes
    ----------
    name : str
    column : str
        A key of `COLUMNS`.
    pixels : str
        Whose pixels they are, such as "ps1": only between samples of the same is a probe one of the lenses.
    pools : tuple of str
        Glob patterns, relative to the working directory.
    masks : bool
        Whether the members are told of the pools' inverse variance and masks.
    limit : int or None
        Only so many stamps, the first.
    against : tuple of str
        Columns of the truth that completeness is shown against.
    clearest : str or None
        Column by which missed lenses are shown, highest first; by score, lowest first, without one.
    group : str or None
        Column that is equal where stamps show the same sky, such as the file that they are from; for intervals they
        are drawn together. The object's id, `objid`, if None.
    clear : mapping of column to number
        What a clear lens has more of, each a column of the truth or `theta_E_over_seeing`, the Einstein radius over the
        seeing (FWHM). Completeness over the clear lenses alone is told beside that over all.
    """

    kind: Literal["pools"]
    group: str | None = None
    pools: tuple[str, ...] = Field(min_length=1)
    masks: bool = True
    limit: int | None = Field(None, ge=1)
    clear: dict[str, float] = Field(default_factory=dict)


class RealLensesConfig(_SampleConfig):
    """Real lenses in the middle of FITS stamps, against the neighbours in the same stamps.

    For intervals a file's lens and neighbours are drawn together: they share its sky, seeing and depth.

    Attributes
    ----------
    pixels : str
        As `PoolsConfig.pixels`.
    stamps : str
        Folder of FITS files, as `lensscan stamps` reads.
    labels : str
        CSV with a column `name`, the files' names without suffix.
    select : mapping of column to str
        Which rows are taken for lenses; "lensed_galaxies" for equality, "> 10" for a number.
    bands : tuple of str
        Of the stamps.
    pixel_scale : arcsec
    size : arcsec
        Side of the stamps that the members get, of lenses and of neighbours.
    centred : "file" or "object"
        What the lenses' stamps are cut about: the middle of the file, or the object nearest to it, as neighbours' are
        cut about themselves; where none is within `largest_offset`, the middle.
    largest_offset : arcsec
    least_distance : arcsec
        Neighbours are at least so far from the stamp's centre.
    most_missing : float
        Share of a neighbour's stamp that may lie off the image; NaN there.
    match_padding : bool
        Whether each lens loses the same pixels as some neighbour, drawn at random, so that missing pixels tell nothing.
    neighbours_of : "all" or "chosen"
        Stamps whose neighbours are taken: of every file in the folder, or of the lenses alone.
    magnitude_quantiles : (float, float)
        Neighbours have r magnitudes between these quantiles of the lenses'.
    threshold : float
        Of the detection of neighbours, in units of the noise of the mean image.
    min_area_pix : int
    """

    kind: Literal["stamps"]
    stamps: str
    labels: str
    select: dict[str, str] = Field(default_factory=dict)
    bands: tuple[str, ...] = Field(min_length=1)
    pixel_scale: Arcsec
    size: Arcsec = Field("20 arcsec", validate_default=True)
    centred: Literal["file", "object"] = "file"
    largest_offset: Arcsec = Field("3 arcsec", validate_default=True)
    least_distance: Arcsec = Field("5 arcsec", validate_default=True)
    most_missing: float = Field(0.35, ge=0, lt=1)
    match_padding: bool = True
    neighbours_of: Literal["all", "chosen"] = "chosen"
    magnitude_quantiles: tuple[float, float] = (0.05, 0.95)
    threshold: float = Field(3.0, gt=0)
    min_area_pix: int = Field(5, ge=1)

    @field_validator("magnitude_quantiles")
    @classmethod
    def _rising(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= value[0] < value[1] <= 1:
            raise ValueError("must be two rising numbers between 0 and 1")
        return value


class _NoLensConfig(_SampleConfig):
    """A sample without a known lens: only thresholds of other samples are told on it, and its own on them."""

    column: Column = "real"
    split: Split | Literal["all"] = "all"
    shares: Shares = Field(default=dict(USUAL_SHARES))


class OthersConfig(_NoLensConfig):
    """A folder of real stamps, of which none is taken for a lens.

    Attributes
    ----------
    stamps : str
        Folder or array, as `lensscan stamps` reads.
    bands : tuple of str
        Of the stamps.
    pixel_scale : arcsec
    size : arcsec
        Side of what is cut from the middle of each.
    zero_point : mag, optional
        AB magnitude of one unit of the files without MAGZERO; without it they are in nJy.
    split, shares : str, share of each split
        Files are dealt out by a hash of their names, as injections into them do.
    """

    kind: Literal["others"]
    stamps: str
    bands: tuple[str, ...] = Field(min_length=1)
    pixel_scale: Arcsec
    size: Arcsec
    zero_point: Magnitude | None = None


class DetectionsConfig(_NoLensConfig):
    """A scan's own detections, all of them unlabelled.

    Attributes
    ----------
    scan : str
        The scan's output.
    limit : int
        Of the detections; of more an even draw.
    split, cell, shares : str, angle, share of each split
        Part of the sky, as injections into the scan have it.
    """

    kind: Literal["detections"]
    scan: str
    limit: int = Field(20_000, ge=1)
    cell: Degrees = Field(USUAL_CELL, validate_default=True, gt=0)


SampleConfig = Annotated[PoolsConfig | RealLensesConfig | OthersConfig | DetectionsConfig, Field(discriminator="kind")]


class EvaluationConfig(StrictModel):
    """One evaluation.

    Attributes
    ----------
    name, description : str
    ensemble : str
        Path of an ensemble TOML or name of a shipped one.
    seed, replicates : int
        Of the bootstrap.
    prior : float
        Share of lenses among the survey's detections.
    detections : int
        Of the survey; `inspected` of them are looked at.
    rates : tuple of float
        False-positive rates at which completeness and purity are given.
    breakdown_rate : float
        The one at which completeness is shown against columns of the truth, and that thresholds travel at.
    threshold, threshold_prior : float
        A detection whose probability at `threshold_prior` exceeds `threshold` is called a lens, for F1, accuracy and
        the confusion matrix.
    training : tuple of str
        Pools that the members were trained and calibrated on, to prove that nothing is shared.
    runs : tuple of str
        Folders of training runs, whose histories the report shows.
    samples : tuple
    """

    name: str
    description: str = ""
    ensemble: str = "ground"
    seed: int = 1
    replicates: int = Field(400, ge=50)
    prior: Rate = 1e-4
    detections: int = Field(1_000_000, ge=1)
    inspected: tuple[int, ...] = (1_000, 10_000)
    rates: tuple[Rate, ...] = (1e-2, 1e-3, 1e-4)
    breakdown_rate: Rate = 1e-2
    threshold: Rate = 0.5
    threshold_prior: Rate = 0.5
    batch: int = Field(256, ge=1)
    training: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    baselines: BaselineConfig = BaselineConfig()
    probe: ProbeConfig = ProbeConfig()
    reliability: ReliabilityConfig = ReliabilityConfig()
    gallery: GalleryConfig = GalleryConfig()
    samples: tuple[SampleConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> EvaluationConfig:
        names = [sample.name for sample in self.samples]
        if len(set(names)) != len(names):
            raise ValueError("samples: two have one name")
        return self


def load_evaluation(path: Path) -> tuple[EvaluationConfig, dict[str, str]]:
    """An evaluation's configuration, and the samples whose places are not known on this machine.

    Parameters
    ----------
    path : Path

    Returns
    -------
    config : EvaluationConfig
        A sample whose text names an environment variable that is not set keeps the text as it is.
    absent : dict
        Why, by the sample's name: such a sample is "not measured", and the others are.

    Raises
    ------
    ConfigError
        For anything else that is wrong with the file, naming key and value.
    """
    values, absent = read_samples(path)
    return validate(EvaluationConfig, values, str(path)), absent


def read_samples(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of a TOML with `[[samples]]`, environment variables expanded, and the samples that name unset ones.

    Returns
    -------
    values : dict
        A sample whose text names an environment variable that is not set keeps the text as it is.
    absent : dict
        Why, by the sample's name.
    """
    values = read_toml(path)
    absent: dict[str, str] = {}
    samples: list[Any] = []
    for sample in values.get("samples", ()):
        try:
            samples.append(expand(sample, str(path)))
        except ConfigError as error:
            absent[str(sample.get("name"))] = str(error)
            samples.append(sample)
    rest = expand({key: value for key, value in values.items() if key != "samples"}, str(path))
    return {**rest, "samples": samples} if samples else rest, absent
