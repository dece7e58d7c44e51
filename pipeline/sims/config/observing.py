"""Observing conditions and rendering, as a person writes them."""

from __future__ import annotations

from pydantic import Field

from pipeline.config import Arcsec, Magnitude, StrictModel


class BandConditions(StrictModel):
    """How deep a band is: the 5-sigma point-source depth (AB), and the sky's brightness a square arcsecond."""

    depth: Magnitude
    sky_brightness: Magnitude


Conditions = dict[str, BandConditions]


class Rendering(StrictModel):
    """How finely light is computed before it is averaged to pixels; `margin` lets light in from outside."""

    oversampling: int = Field(2, ge=1)
    margin: Arcsec = Field("1.2 arcsec", validate_default=True)


def check_conditions(bands: tuple[str, ...], conditions: Conditions) -> None:
    """Raise ValueError for bands without conditions."""
    without = [band for band in bands if band not in conditions]
    if without:
        raise ValueError(f"no conditions for band {', '.join(without)}; add a table [conditions.{without[0]}]")
