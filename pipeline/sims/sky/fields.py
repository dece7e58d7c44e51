"""What all fields of a synthetic survey share, and where each of them is."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.geometry import FieldGeometry
from pipeline.sims.artefacts.star import BrightStar
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.render.image import Psf
from pipeline.sims.render.light import Float64
from pipeline.sims.sky.lenses import PlantedLens
from pipeline.sims.sky.objects import Templates


@dataclass(frozen=True)
class Sky:
    """What all fields of a survey share."""

    config: SkyConfig
    seed: int
    plane: tuple[int, int]
    sigma: Float64
    level: Float64
    psf: Psf
    templates: Templates
    lenses: list[PlantedLens]
    stars: list[BrightStar]


@dataclass(frozen=True)
class Field:
    """One field: its number, its id, and its first pixel (x, y) on the plane."""

    number: int
    field_id: str
    origin: tuple[int, int]
    geometry: FieldGeometry
