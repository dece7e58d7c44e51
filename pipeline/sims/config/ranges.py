"""Numbers of a population as a person writes them: ranges, shares, spreads."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.config import ArcsecOrZero, Magnitude, StrictModel


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"the lower end {value[0]} is above the upper end {value[1]}")
    return value


ArcsecRange = Annotated[tuple[ArcsecOrZero, ArcsecOrZero], AfterValidator(_ordered)]
MagnitudeRange = Annotated[tuple[Magnitude, Magnitude], AfterValidator(_ordered)]
Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
IntRange = Annotated[tuple[int, int], AfterValidator(_ordered)]
Share = Annotated[float, Field(ge=0, le=1)]
Shares = Annotated[tuple[Share, ...], Field(min_length=1)]
"""Relative numbers of 1, 2, 3, ... of something."""


class Spread(StrictModel):
    """A normal distribution of magnitudes."""

    mean: Magnitude
    scatter: Magnitude


class Colours(StrictModel):
    """Colours of a population, each drawn on its own."""

    g_r: Spread
    r_i: Spread
    i_z: Spread
