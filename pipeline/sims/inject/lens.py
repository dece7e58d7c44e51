"""A lens that was drawn for a real galaxy, and the galaxy's cutout with its arc."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.io.cutout_store import Stamps
from pipeline.sims.render.lensing import LensedSource
from pipeline.sims.render.light import Float32, Float64


@dataclass(frozen=True)
class InjectedLens:
    """A lens that was drawn for a galaxy.

    Attributes
    ----------
    deflector : int
        Index into the plan's deflectors.
    source : LensedSource
    colour : float64 (band,)
        The source's flux over that in r.
    redshift, source_redshift : float
    dispersion : km/s
    source_id : int
        Of the HST galaxy; -1 for a Sersic source.
    red : bool
    snr, least_share : float
        What the arc's S/N shall be, and how much of it has to be visible.
    """

    deflector: int
    source: LensedSource
    colour: Float64
    redshift: float
    source_redshift: float
    dispersion: float
    source_id: int
    red: bool
    snr: float
    least_share: float


@dataclass(frozen=True)
class Injection:
    """A cutout with its arc, before it is turned and resampled: stamps (band, y, x), arc without noise."""

    stamps: Stamps
    arc: Float32
    lens: InjectedLens
    share: float
    source_mag: float
