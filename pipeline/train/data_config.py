"""Where a training run's stamps come from: the section `[data]` of a training config.

A source is a table with its `kind`; a plain string is the pattern of a pool::

    [data]
    train = ["runs/pools/train/pool-*.npz"]

    [[data.unlabelled]]
    kind = "cutouts"
    scan = "products/my-scan"
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pipeline.config import Arcsec, Degrees, Magnitude, StrictModel
from pipeline.splits import USUAL_CELL, USUAL_SHARES, Shares, Split

Graded = Literal["A", "B", "C", "X"]
"""A consensus grade: sure, probable and possible lens, none."""


class SourceConfig(StrictModel):
    """What every source has.

    Attributes
    ----------
    weight : float
        How often a stamp of this source is drawn, compared with those of a source of weight 1.
    limit : int, optional
        No more stamps than this: the first ones of a pool, whose order is random; of other sources an even
        draw, always the same.
    most_lenses, most_others : int, optional
        No more stamps of a class than this, chosen likewise before `limit` is; what has no label is an other.
    """

    weight: float = Field(1.0, gt=0)
    limit: int | None = Field(None, ge=1)
    most_lenses: int | None = Field(None, ge=0)
    most_others: int | None = Field(None, ge=0)

    @property
    def by_class(self) -> bool:
        """Whether a class has a limit of its own."""
        return self.most_lenses is not None or self.most_others is not None


class PoolsConfig(SourceConfig):
    """Pools as `lensscan simulate` writes them; `pattern` is relative to the working directory."""

    kind: Literal["pools"] = "pools"
    pattern: str

    def __str__(self) -> str:
        return self.pattern


class PartConfig(SourceConfig):
    """What sources have that can be divided.

    Attributes
    ----------
    part : "train", "validation" or "test", optional
        Only the rows of this split, by a hash of what names them; everything if not given. A source that is
        named twice with different parts shares nothing between them.
    shares : mapping
        Share of each split.
    """

    part: Split | None = None
    shares: Shares = Field(default=dict(USUAL_SHARES))


class GridConfig(PartConfig):
    """Ready-made stamps, which don't say how large their pixels are.

    Attributes
    ----------
    path : str
    pixel_scale : arcsec
    bands : tuple of str, optional
        Of the stamps, in order. The package's if not given; pictures have none of their own: their red,
        green and blue stand for i, r, g.
    """

    path: str
    pixel_scale: Arcsec
    bands: tuple[str, ...] | None = Field(None, min_length=1)


class FoldersConfig(GridConfig):
    """A folder for each class: `<split>_<lenses>` and `<split>_<nonlenses>` in `path`.

    Split by file name where `part` is given.

    Attributes
    ----------
    split : str
        `"train"` reads `train_lenses/` and `train_nonlenses/`; `""` reads `lenses/` and `nonlenses/`.
    lenses, nonlenses : str
        Names of the folders, without the split; an array file of that name will do.
    """

    kind: Literal["folders"]
    split: str = ""
    lenses: str = "lenses"
    nonlenses: str = "nonlenses"

    def __str__(self) -> str:
        prefix = f"{self.split}_" if self.split else ""
        return f"{self.path}/{prefix}{{{self.lenses},{self.nonlenses}}}"


class StampsConfig(GridConfig):
    """A folder or an array of stamps without labels; split by name."""

    kind: Literal["stamps"]

    def __str__(self) -> str:
        return self.path


class BolognaConfig(PartConfig):
    """A set of the strong-lens-finding challenges (Metcalf et al. 2019, A&A 625, A119); split by ID.

    Attributes
    ----------
    path : str
        Folder under which, at any depth, the images lie.
    key : str, optional
        The key file; the one CSV in `path` with columns ID and is_lens if not given.
    pixel_scale : arcsec
        0.2 for the ground-based set, 0.1 for the space-based one.
    masked : float, optional
        Pixels of exactly this value have no data, as in the ground-based set.
    zero_point : mag, optional
        AB magnitude of one unit of the images. Without it their values are taken as they are, which only a
        normalisation that measures each stamp's own noise forgives.
    """

    kind: Literal["bologna"]
    path: str
    key: str | None = None
    pixel_scale: Arcsec
    masked: float | None = 100.0
    zero_point: Magnitude | None = None

    def __str__(self) -> str:
        return f"{self.path} (challenge)"


class CandidateListsConfig(PartConfig):
    """The data set of a study of lensed quasars in HSC images, as it stands; split by the candidates' names.

    `candidates_list_raw.txt` names every candidate, a line each, `candidates_list_selected.txt` those that are lensed
    quasars, and `fits_data/<name>_HSC-I_img.fits` holds their images
    (github.com/olivier-2018/lensed_quasars_detection_with_generative_models).

    Attributes
    ----------
    path : str
        Folder of the two lists and of `fits_data`.
    band : str
        The one band of the images.
    pixel_scale : arcsec
    zero_point : mag
        AB magnitude of one unit of the images.
    suffix : str
        What follows a candidate's name in its file's.
    missing : "refuse" or "leave_out"
        What to do with candidates that have no file.
    """

    kind: Literal["candidate_lists"]
    path: str
    band: str = "i"
    pixel_scale: Arcsec = Field("0.168 arcsec", validate_default=True)
    zero_point: Magnitude = Field("27 mag", validate_default=True)
    suffix: str = "_HSC-I_img.fits"
    missing: Literal["refuse", "leave_out"] = "refuse"

    def __str__(self) -> str:
        return f"{self.path} (candidate lists)"


class SkyConfig(PartConfig):
    """Cutouts of a scan; split by the sky cells that they lie in, as injections into the same scan are.

    A cutout that reaches into a cell of another split is left out where `part` is given.

    Attributes
    ----------
    scan : str
        The scan's output folder.
    cell : angle
        Side of a sky cell, in degrees here; the HEALPix order nearest to it is taken.
    """

    scan: str
    cell: Degrees = Field(USUAL_CELL, validate_default=True, gt=0)


class TableConfig(SkyConfig):
    """Labels for the cutouts of a scan.

    Attributes
    ----------
    table : str
        CSV or Parquet with `objid` (int64) and `label` (0 or 1), and `field_id` where an object stands in
        several fields.
    """

    kind: Literal["table"]
    table: str

    def __str__(self) -> str:
        return f"{self.table} of {self.scan}"


class GradedConfig(SkyConfig):
    """Candidates of a scan that people graded, as labels for its cutouts.

    Attributes
    ----------
    table : str
        As `lensscan grades PATH --output FILE` writes it (Parquet or CSV): a row an object, with its consensus in
        `grade`. What was planted to measure graders is left out.
    positives, negatives : tuple of "A", "B", "C", "X"
        Consensus grades that are lenses, and those that are none; other rows are left out.
    weigh : bool
        Draw a positive as often as its `p_lens` says, and a negative as 1 - `p_lens`; needs `--consensus dawid-skene`.
    cut_again : str, optional
        The scan's config, a path or a shipped name: cutouts that the scan did not keep are cut once more from the
        survey's images.
    """

    kind: Literal["graded"]
    table: str
    positives: tuple[Graded, ...] = Field(("A", "B"), min_length=1)
    negatives: tuple[Graded, ...] = Field(("X",), min_length=1)
    weigh: bool = False
    cut_again: str | None = None

    @model_validator(mode="after")
    def _apart(self) -> GradedConfig:
        both = sorted(set(self.positives) & set(self.negatives))
        if both:
            raise ValueError(f"grade {', '.join(both)} is in positives and negatives")
        return self

    def __str__(self) -> str:
        return f"grades {self.table} of {self.scan}"


class CutoutsConfig(SkyConfig):
    """Every cutout of a scan, without labels; `fields` are the field ids to keep to, all if empty."""

    kind: Literal["cutouts"]
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"cutouts of {self.scan}"


class DonorsConfig(CutoutsConfig):
    """Cutouts whose fatal flags are trusted: their artefacts are put into stamps that learn to draw maps.

    Attributes
    ----------
    bands : tuple of str
        Those whose artefacts are taken, each by itself.
    """

    bands: tuple[str, ...] = Field(min_length=1)


def _pattern(value: Any) -> Any:
    return {"kind": "pools", "pattern": value} if isinstance(value, str) else value


LabelledSource = Annotated[
    PoolsConfig | FoldersConfig | TableConfig | GradedConfig | BolognaConfig | CandidateListsConfig,
    Field(discriminator="kind"),
    BeforeValidator(_pattern),
]
"""A source with labels, told by `kind`; a plain string is a pool's pattern."""

AnySource = Annotated[
    PoolsConfig
    | FoldersConfig
    | TableConfig
    | GradedConfig
    | BolognaConfig
    | CandidateListsConfig
    | CutoutsConfig
    | StampsConfig,
    Field(discriminator="kind"),
    BeforeValidator(_pattern),
]
"""Any source, labels or none."""


class DataConfig(StrictModel):
    """What a run trains on, and what it is watched on.

    Attributes
    ----------
    train, validation : tuple of sources
        What a validation source holds must not come from the seeds, galaxies or sky of a training source.
    unlabelled : tuple of sources
        For methods that learn from stamps without labels; labels of a source that has them are not read.
    artefacts : tuple of DonorsConfig
        Real artefacts, for a network that learns to draw them; see `donor_share` of `[augment]`.
    mix : mapping
        How often a kind of stamp is drawn compared with its share of the sources; a kind that is not
        named counts 1, and 0 leaves it out. Kinds are those of the simulation in pools, "lens" and "other"
        in other sources.
    validation_limit : int
        Stamps of the validation sources that are scored after each epoch, of each in proportion.
    size_pix : int, optional
        Side at which stamps are held that don't come from pools: more than `package.size_pix`, so that
        shifts and zooms find pixels there. `package.size_pix` if not given; where there are pools, theirs.
    shared_sources : "refuse" or "allow"
        What to do where training and validation pools lens the same galaxies, or lie on the same places of
        the sky. Stamps that are the same to the pixel are always refused.
    """

    train: tuple[LabelledSource, ...] = Field(min_length=1)
    validation: tuple[LabelledSource, ...] = Field(min_length=1)
    unlabelled: tuple[AnySource, ...] = ()
    artefacts: tuple[DonorsConfig, ...] = ()
    mix: dict[str, float] = Field(default_factory=dict)
    validation_limit: int = Field(6000, ge=20)
    size_pix: int | None = Field(None, ge=8, le=1024)
    shared_sources: Literal["refuse", "allow"] = "refuse"

    @field_validator("mix")
    @classmethod
    def _not_negative(cls, value: dict[str, float]) -> dict[str, float]:
        negative = [kind for kind, weight in value.items() if weight < 0]
        if negative:
            raise ValueError(f"weights of {negative} are negative")
        return value
