"""What a scan is asked to do: one section a stage, so that a change redoes only what reads it."""

from __future__ import annotations

import math
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from pipeline.config import (
    Arcsec,
    ArcsecOrZero,
    Megabytes,
    PerArcmin2,
    PerSecond,
    StrictModel,
    expand,
    read_toml,
    validate,
)

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")


class MasksConfig(StrictModel):
    """Finders of artefacts on pixels; each can be switched off where a survey's own plane is better."""

    background_box: Arcsec = Field("30 arcsec", validate_default=True)
    gaps: bool = True
    gap_width: Arcsec = Field("60 arcsec", validate_default=True)
    low_exposure_fraction: float = Field(0.3, ge=0, lt=1)  # of what `well_exposed_share` of the field has
    well_exposed_share: float = Field(0.25, gt=0, lt=1)
    steps: bool = True
    step_significance: float = Field(8.0, gt=0)
    step_window: Arcsec = Field("1.7 arcsec", validate_default=True)
    step_cells: int = Field(4, ge=2)
    step_jump: float = Field(0.2, gt=0)
    step_margin: Arcsec = Field("0.9 arcsec", validate_default=True)
    step_strip: Arcsec = Field("35 arcsec", validate_default=True)
    step_lean: float = Field(1.5, ge=0, lt=20)
    saturation: bool = True
    saturation_snr: float = Field(2000.0, gt=0)
    saturation_flatness: float = Field(0.88, gt=0, lt=1)
    saturation_grow: Arcsec = Field("0.6 arcsec", validate_default=True)
    bleed_length: Arcsec = Field("3 arcsec", validate_default=True)
    bleed_reach: Arcsec = Field("30 arcsec", validate_default=True)
    trails: bool = True
    trail_significance: float = Field(8.0, gt=0)
    trail_length: Arcsec = Field("30 arcsec", validate_default=True)
    trail_sure: Arcsec = Field("60 arcsec", validate_default=True)
    trail_half_width: Arcsec = Field("0.25 arcsec", validate_default=True)
    cosmic_rays: bool = True
    cosmic_ray_significance: float = Field(6.0, gt=0)
    cosmic_ray_sharpness: float = Field(1.25, ge=1)
    bad_columns: bool = True
    bad_column_significance: float = Field(6.0, gt=0)
    bad_column_length: Arcsec = Field("10 arcsec", validate_default=True)
    seams: bool = True
    seam_ratio: float = Field(1.25, gt=1)
    seam_weight_ratio: float = Field(1.1, gt=1)
    seam_length: Arcsec = Field("3 arcsec", validate_default=True)
    seam_strip: Arcsec = Field("1 arcsec", validate_default=True)
    bright_stars: bool = True
    bright_star_radius: Arcsec = Field("60 arcsec", validate_default=True)
    halo_level: float = Field(0.5, gt=0)
    spike_level: float = Field(1.5, gt=0)
    spike_half_width: Arcsec = Field("1.2 arcsec", validate_default=True)
    star_snr: float = Field(1000.0, gt=0)
    ghosts: bool = True
    ghost_level: float = Field(0.5, gt=0)
    ghost_radius: tuple[Arcsec, Arcsec] = Field(("4 arcsec", "60 arcsec"), validate_default=True)
    ghost_sure: Arcsec = Field("15 arcsec", validate_default=True)
    ghost_margin: Arcsec = Field("0.5 arcsec", validate_default=True)
    edge: ArcsecOrZero = Field("0 arcsec", validate_default=True)


class DetectConfig(StrictModel):
    """Where to look.

    `sep` finds sources on the stack of `bands`, `catalogue` takes the survey's own table, `grid` tiles
    the whole field.
    """

    method: Literal["sep", "catalogue", "grid"] = "sep"
    bands: tuple[str, ...] = ()
    threshold: float = Field(5.0, gt=0)
    min_area_pix: int = Field(5, ge=1)
    deblend_contrast: float = Field(0.005, gt=0, le=1)
    deblend_levels: int = Field(32, ge=1)
    match_radius: ArcsecOrZero = Field("0.5 arcsec", validate_default=True)
    grid_step: Arcsec = Field("10 arcsec", validate_default=True)
    aperture: Arcsec = Field("3 arcsec", validate_default=True)


class CutoutsConfig(StrictModel):
    """Size of the stamps and their storage.

    Codec `quantised` keeps images in steps of a sixteenth of their noise, at a quarter of the bytes. Once a field has
    its candidates, `keep` says whose cutouts stay; what needs others later has the field cut again.
    """

    size: Arcsec = Field("20.4 arcsec", validate_default=True)
    chunk: int = Field(50, ge=1)
    shard: int = Field(2000, ge=1)
    codec: Literal["lz4", "zstd", "none", "quantised"] = "lz4"
    keep: Literal["all", "candidates", "none"] = "all"

    @model_validator(mode="after")
    def _whole_chunks(self) -> CutoutsConfig:
        if self.shard % self.chunk:
            raise ValueError(f"shard {self.shard} must be a multiple of chunk {self.chunk}")
        return self

    def stamp_pixels(self, pixel_scale: float) -> int:
        """Side of a stamp: `size` over the pixel scale in arcsec, rounded, halves up; at least 1 pixel."""
        return max(1, math.floor(self.size / pixel_scale + 0.5))


class ScoreConfig(StrictModel):
    """How a shard goes through the ensemble.

    Batches have `batch` stamps, on a CPU 64 of them at most, the last one padded. A band counts as lost where less
    than `min_valid_fraction` of its pixels or none near the centre is valid. A member scores a stamp that has lost at
    most `max_lost_bands` of its bands, but not all of them, from those that are left. With `cascade` the members see
    what the gates of the ensemble's cascade pass. `backend` runs the networks: `onnx` is onnxruntime, in float32 on a
    CPU; `compile` is `torch.compile`, some ten seconds a network and worker. `embeddings` keeps what a member makes of
    the stamps of `embeddings_of` before its last layer: of the member that is named, or with true of the one that the
    ensemble names for it.
    """

    batch: int = Field(256, ge=1)
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    backend: Literal["torch", "onnx", "compile"] = "torch"
    min_valid_fraction: float = Field(0.5, ge=0, le=1)
    max_lost_bands: int = Field(1, ge=0)
    cascade: bool = False
    embeddings: bool | str = False
    embeddings_of: Literal["candidates", "all"] = "candidates"

    @model_validator(mode="after")
    def _where_onnx_runs(self) -> ScoreConfig:
        if self.backend == "onnx" and (self.device, self.dtype) != ("cpu", "float32"):
            raise ValueError('backend "onnx" needs device = "cpu" and dtype = "float32"')
        if self.backend == "onnx" and not all(map(find_spec, ("onnxruntime", "onnxscript"))):
            raise ValueError(
                'backend "onnx" needs onnxruntime and onnxscript: run `./install.sh onnx` in lensscan\'s folder'
            )
        return self


class VetConfig(StrictModel):
    """When a score is not to be trusted.

    `disagree_log_odds` is a standard deviation over the members of what each finds in favour of a lens, in natural
    log-odds: at a prior of 1e-4 even members at odds over a candidate have probabilities that hardly differ.
    `unfamiliar_share` is the share of validation stamps that are more familiar. An artefact is likely where a share
    `artefact_overlap` of what the score rests on lies under the artefact map.
    """

    centre_radius: Arcsec = Field("1.5 arcsec", validate_default=True)
    crossing_pix: int = Field(12, ge=1)
    partial_fraction: float = Field(0.9, gt=0, le=1)
    bright_fraction: float = Field(0.01, gt=0, le=1)
    disagree_log_odds: float = Field(2.0, gt=0)
    unfamiliar_share: float = Field(0.999, gt=0, le=1)
    artefact_overlap: float = Field(0.5, gt=0, le=1)


class CandidatesConfig(StrictModel):
    """Which scores become candidates.

    The floor is low on purpose: a score equal to the prior says that a stamp looks neither more nor less like a lens
    than the average detection. `max_fraction` bounds what a field can add.
    """

    floor: float = Field(1e-4, ge=0, le=1)
    prior: float = Field(1e-4, gt=0, lt=1)
    max_fraction: float = Field(0.1, gt=0, le=1)


class ForecastConfig(StrictModel):
    """What a forecast assumes until this output has measured it; no product depends on it.

    The defaults are near what `lensscan demo` and `lensscan scan kids-viking` measured on two CPU cores: 10 and 5
    detections a square arcminute, 50 to 105 objects cut and 180 to 310 scored a second and worker.
    """

    density: PerArcmin2 = Field("8 arcmin-2", validate_default=True)
    cut_rate: PerSecond = Field("80 s-1", validate_default=True)
    score_rate: PerSecond = Field("200 s-1", validate_default=True)


class ScanConfig(StrictModel):
    """One survey, one ensemble, one configuration, with an id.

    Attributes
    ----------
    scan_id : str
        The name by which the scan is known for good; never a hash.
    survey : str
        Path of a survey TOML (relative to this config) or name of a shipped one.
    ensemble : str or None
        Likewise; without one the scan stops after the cutouts.
    output : str
        Folder of the products (relative to the working directory), or s3://BUCKET/KEY.
    bands : tuple of str
        Canonical bands to cut, in order.
    memory : float, MB
        What one worker may hold of a field at a time; sets the height of the row blocks.
    threads : int
        Torch threads of one worker process; fixed, because it is part of what makes bytes equal.
    """

    scan_id: str
    survey: str
    ensemble: str | None = None
    output: str
    bands: tuple[str, ...] = Field(min_length=1)
    memory: Megabytes = Field("2000 Mbyte", validate_default=True)
    threads: int = Field(1, ge=1)
    masks: MasksConfig = MasksConfig()
    detect: DetectConfig = DetectConfig()
    cutouts: CutoutsConfig = CutoutsConfig()
    score: ScoreConfig = ScoreConfig()
    vet: VetConfig = VetConfig()
    candidates: CandidatesConfig = CandidatesConfig()
    forecast: ForecastConfig = ForecastConfig()

    @field_validator("scan_id")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not _NAME.match(value):
            raise ValueError("must be letters, digits, '.', '_' or '-', starting with a letter or digit")
        return value

    @field_validator("output")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if not value.strip() or "\0" in value:
            raise ValueError("names no folder")
        return value

    @field_validator("bands")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError("names a band twice")
        return value

    @model_validator(mode="after")
    def _keep_needs_candidates(self) -> ScanConfig:
        if self.cutouts.keep != "all" and self.ensemble is None:
            raise ValueError(
                f'cutouts.keep = "{self.cutouts.keep}" needs an ensemble: without one the scan stops at the cutouts'
            )
        return self

    @model_validator(mode="after")
    def _embeddings_need_scores(self) -> ScanConfig:
        if self.score.embeddings and self.ensemble is None:
            raise ValueError("score.embeddings needs an ensemble: without one there is no network to make them")
        return self

    @model_validator(mode="after")
    def _detect_in_bands(self) -> ScanConfig:
        missing = [band for band in self.detect.bands if band not in self.bands]
        if missing:
            raise ValueError(f"detect.bands has {missing}, which bands does not")
        return self


def load_scan(path: Path, output: str | None = None) -> tuple[ScanConfig, dict[str, object]]:
    """A scan's configuration, and the file's values before expansion for its provenance.

    Parameters
    ----------
    path : Path
    output : str, optional
        Overrides the config's own output place.

    Raises
    ------
    ConfigError
        For anything wrong with the file, naming key and value.
    """
    raw = read_toml(path)
    values = expand({**raw, "output": output} if output is not None else raw, str(path))
    return validate(ScanConfig, values, str(path)), raw
