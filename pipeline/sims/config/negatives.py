"""Shapes of what is not a lens, as a person writes them: one table a kind of `negatives.kinds.NEGATIVES`.

`numbers` are the relative frequencies of 1, 2, 3, ... objects beside the central one; magnitudes are differences to
the central object in r unless said otherwise; distances are from it. Radii without a unit are in units of the central
object's effective radius.
"""

from __future__ import annotations

from pydantic import Field

from pipeline.config import Degrees, Magnitude, StrictModel
from pipeline.sims.config.ranges import ArcsecRange, Colours, IntRange, MagnitudeRange, Range, Share, Shares


class Knots(StrictModel):
    """Blue clumps in the plane of a disc, of one Sersic index."""

    distance: Range
    radius: Range
    radius_limits: ArcsecRange
    axis_ratio: Range
    sersic: float = Field(1.0, gt=0)


class Spiral(StrictModel):
    """A disc, `stretch` times the usual radius, with arms of a depth and pitch, knots and a bulge."""

    stretch: float = Field(gt=0)
    sersic: float = Field(1.0, gt=0)
    least_axis_ratio: Share
    arms: Range
    pitch: tuple[Degrees, Degrees]
    bulge_contrast: MagnitudeRange
    bulge_radius: float = Field(gt=0)
    knots: IntRange
    knot_strength: float = Field(ge=0)


class Clumpy(StrictModel):
    """A disc with clumps that have `knot_strength` of its light on average."""

    stretch: Range
    knots: IntRange
    knot_strength: float = Field(ge=0)


class BlueDisc(StrictModel):
    """A very blue disc, at times with a lopsided second one in it."""

    stretch: Range
    colours: Colours
    knots: IntRange
    knot_strength: float = Field(ge=0)
    lopsided_share: Share
    lopsided_distance: Range
    lopsided_contrast: MagnitudeRange


class RingGalaxy(StrictModel):
    """A core and a ring; `width` in units of the ring's radius, `unevenness` of its brightness along it.

    The core is as flat as the ring, but at most `core_flattening` times its own axis ratio.
    """

    axis_ratio: Range
    contrast: MagnitudeRange
    width: Range
    unevenness: float = Field(ge=0)
    core_radius: float = Field(gt=0)
    core_flattening: Share = 0.8
    knots: IntRange
    knot_contrast: MagnitudeRange
    knot_radius: ArcsecRange


class Companion(StrictModel):
    """Blue galaxies beside a red one, some drawn out across the line to it."""

    numbers: Shares
    drawn_out_share: Share
    drawn_out_axis_ratio: Range
    tangent_scatter: Degrees
    source_colour_share: Share
    knots_share: Share
    knots: IntRange
    knot_strength: float = Field(ge=0)


class EdgeOn(StrictModel):
    """A disc from its side, with a bulge of at most `bulge_radius` of the disc's."""

    stretch: float = Field(gt=0)
    sersic: float = Field(1.0, gt=0)
    axis_ratio: Range
    bulge_contrast: MagnitudeRange
    bulge_radius: float = Field(gt=0)


class Merger(StrictModel):
    """Galaxies in one another's light, at times with a tidal tail, which begins within `tail_turn` of the galaxy."""

    numbers: Shares
    distance: ArcsecRange
    elliptical_share: Share
    contrast: MagnitudeRange
    tail_share: Share
    tail_radius: ArcsecRange
    tail_contrast: MagnitudeRange
    tail_width: ArcsecRange
    tail_axis_ratio: Range
    tail_sharpness: Range
    tail_turn: Degrees = Field("1 rad", validate_default=True)


class StarPair(StrictModel):
    """Stars beside a star."""

    numbers: Shares
    distance: ArcsecRange
    contrast: MagnitudeRange


class Group(StrictModel):
    """Faint galaxies about a middle one; `fainter` than the faint end of the galaxies' central magnitudes."""

    galaxies: IntRange
    distance: ArcsecRange
    elliptical_share: Share
    fainter: MagnitudeRange


class RedGroup(StrictModel):
    """Red galaxies of one redshift about the brightest of them: compact groups, and blends of two or three."""

    numbers: Shares
    distance: ArcsecRange
    contrast: MagnitudeRange


class StarGalaxy(StrictModel):
    """Stars beside a galaxy, red with `elliptical_share`; two of them may lie on opposite sides."""

    numbers: Shares
    distance: ArcsecRange
    contrast: MagnitudeRange
    elliptical_share: Share
    opposite_share: Share
    opposite_scatter: Degrees


class BluePoint(StrictModel):
    """A quasar that isn't lensed, in its host galaxy, with neighbours: galaxies with `galaxy_share`, else stars."""

    numbers: Shares
    distance: ArcsecRange
    contrast: MagnitudeRange
    galaxy_share: Share
    host_share: Range


class BrightCore(StrictModel):
    """A red galaxy so bright that its core is white in a picture, with faint galaxies in its light."""

    magnitude: MagnitudeRange
    redshift: Range
    numbers: Shares
    distance: ArcsecRange
    contrast: MagnitudeRange
    elliptical_share: Share


class NegativePopulation(StrictModel):
    """Everything that is not a lens, by kind; `empty` is how far beyond the central magnitudes' faint end it begins."""

    knots: Knots
    spiral: Spiral
    clumpy: Clumpy
    blue_disc: BlueDisc
    ring: RingGalaxy
    companion: Companion
    edge_on: EdgeOn
    merger: Merger
    star_pair: StarPair
    group: Group
    faint_field: Group
    compact_group: RedGroup
    red_blend: RedGroup
    star_galaxy: StarGalaxy
    blue_point: BluePoint
    bright_core: BrightCore
    empty: Magnitude
