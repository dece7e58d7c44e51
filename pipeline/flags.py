"""Every mask bit and vet flag, once, with its meaning.

Bit numbers are part of the products on disk: they are never reused or renumbered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

FOUND_SHIFT = 16
"""Bits 0-15 of a mask come from the survey; the same flags, found by us, stand this many bits higher."""


class PixelFlag(IntFlag):
    """Why a pixel of one band is not to be trusted."""

    NODATA = 1 << 0
    CHIP_GAP = 1 << 1
    EDGE = 1 << 2
    BADPIX = 1 << 3
    BADCOLUMN = 1 << 4
    SATURATED = 1 << 5
    BLEED = 1 << 6
    COSMIC_RAY = 1 << 7
    INTERPOLATED = 1 << 8
    TRAIL = 1 << 9
    SPIKE = 1 << 10
    GHOST = 1 << 11
    HALO = 1 << 12
    BRIGHT_OBJECT = 1 << 13
    SEAM = 1 << 14
    LOW_EXPOSURE = 1 << 15


class VetFlag(IntFlag):
    """Why the score of a detection is not to be trusted; rows are flagged, never dropped."""

    CENTRE_MASKED = 1 << 0
    CHIP_GAP_CROSSES = 1 << 1
    TRAIL_CROSSES = 1 << 2
    PARTIAL_COVERAGE = 1 << 3
    MISSING_BAND = 1 << 4
    BRIGHT_STAR = 1 << 5
    SEAM = 1 << 6
    ARTEFACT_LIKELY = 1 << 7
    OUT_OF_DISTRIBUTION = 1 << 8
    MEMBERS_DISAGREE = 1 << 9
    KNOWN_LENS = 1 << 10
    STOPPED_BY_GATE = 1 << 11


@dataclass(frozen=True)
class FlagMeaning:
    """One bit as a reader of the documentation sees it."""

    name: str
    bit: int
    fatal: bool
    description: str


_PIXEL_TEXT: dict[PixelFlag, str] = {
    PixelFlag.NODATA: "no measurement: outside the image, NaN, or zero weight",
    PixelFlag.CHIP_GAP: "gap between detectors, or the step that a detector's edge left in a coadd",
    PixelFlag.EDGE: "near the edge of a detector or of the image",
    PixelFlag.BADPIX: "bad pixel of the detector",
    PixelFlag.BADCOLUMN: "bad column or row of the detector",
    PixelFlag.SATURATED: "saturated",
    PixelFlag.BLEED: "charge bled from a saturated star",
    PixelFlag.COSMIC_RAY: "hit by a cosmic ray",
    PixelFlag.INTERPOLATED: "value interpolated by the survey's own pipeline",
    PixelFlag.TRAIL: "trail of a satellite or an aeroplane",
    PixelFlag.SPIKE: "diffraction spike of a bright star",
    PixelFlag.GHOST: "reflection of a bright star",
    PixelFlag.HALO: "halo of a bright star",
    PixelFlag.BRIGHT_OBJECT: "under or beside a bright star or galaxy",
    PixelFlag.SEAM: "seam between exposures of different noise or background",
    PixelFlag.LOW_EXPOSURE: "far less exposure than the better part of the field",
}

_VET_TEXT: dict[VetFlag, str] = {
    VetFlag.CENTRE_MASKED: "a fatal pixel flag lies on the centre of the stamp",
    VetFlag.CHIP_GAP_CROSSES: "a chip gap or detector edge crosses the stamp",
    VetFlag.TRAIL_CROSSES: "a satellite or aeroplane trail crosses the stamp",
    VetFlag.PARTIAL_COVERAGE: "too few valid pixels in some band",
    VetFlag.MISSING_BAND: "a band that the ensemble uses has no valid pixel",
    VetFlag.BRIGHT_STAR: "a saturated or very bright object, its bleed, spike or halo is in the stamp",
    VetFlag.SEAM: "a seam of noise or background crosses the stamp",
    VetFlag.ARTEFACT_LIKELY: "the artefact map covers what the score rests on",
    VetFlag.OUT_OF_DISTRIBUTION: "the stamp is unlike what the ensemble was trained on",
    VetFlag.MEMBERS_DISAGREE: "the members' scores are far apart",
    VetFlag.KNOWN_LENS: "a lens or candidate in the literature",
    VetFlag.STOPPED_BY_GATE: "a gate of the cascade stopped it: most members have not looked, and it has no score",
}

FATAL = (
    PixelFlag.NODATA
    | PixelFlag.CHIP_GAP
    | PixelFlag.EDGE
    | PixelFlag.BADPIX
    | PixelFlag.BADCOLUMN
    | PixelFlag.SATURATED
    | PixelFlag.BLEED
    | PixelFlag.COSMIC_RAY
    | PixelFlag.TRAIL
    | PixelFlag.GHOST
)
"""Flags whose pixels carry no usable sky."""

FATAL_MASK = np.uint32(int(FATAL) | (int(FATAL) << FOUND_SHIFT))
"""Fatal bits of both halves of a mask, as the one number to AND with."""


def mask_value(flags: PixelFlag | int, found: bool = False) -> np.uint32:
    """The uint32 that stands for `flags` in a mask: the survey's half, or ours where `found`."""
    return np.uint32(int(flags) << (FOUND_SHIFT if found else 0))


def either(mask: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Fold a mask's two halves into PixelFlag bits 0-15, whoever set them; same shape, uint32."""
    folded: npt.NDArray[np.uint32] = (mask | (mask >> np.uint32(FOUND_SHIFT))) & np.uint32(0xFFFF)
    return folded


def has(mask: npt.NDArray[np.uint32], flags: PixelFlag | int) -> npt.NDArray[np.bool_]:
    """Where a mask carries any of `flags`, from the survey or found; same shape, bool."""
    bits = mask_value(flags) | mask_value(flags, found=True)
    carried: npt.NDArray[np.bool_] = (mask & bits) != 0
    return carried


def fatal(mask: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Where a mask carries a fatal flag; same shape, bool."""
    dead: npt.NDArray[np.bool_] = (mask & FATAL_MASK) != 0
    return dead


def valid_pixels(
    image: npt.NDArray[Any], ivar: npt.NDArray[Any] | None = None, mask: npt.NDArray[Any] | None = None
) -> npt.NDArray[np.bool_]:
    """Where a network may look: finite, of positive weight, and without a fatal flag; the image's shape, bool.

    Parameters
    ----------
    image : nJy, any shape
    ivar : nJy^-2, the same shape, or None for no weights
    mask : uint32, the same shape, or None for no flags
    """
    valid: npt.NDArray[np.bool_] = np.isfinite(image)
    if ivar is not None:
        valid &= np.asarray(ivar) > 0
    if mask is not None:
        valid &= ~fatal(np.asarray(mask).astype(np.uint32, copy=False))
    return valid


def decode(value: Any, kind: type[PixelFlag] | type[VetFlag]) -> list[str]:
    """Names of the bits set in one integer, lowest first.

    A vet flag that a later version wrote and this one does not know is `bit 27`, by its number from 0.

    Raises
    ------
    ValueError
        If a bit of a pixel mask is not known: fold it with `either` first. Or if the number is negative.
    """
    number = int(value)
    names = {flag.value.bit_length() - 1: str(flag.name) for flag in kind if number & flag.value}
    unknown = number & ~sum(flag.value for flag in kind)
    if number < 0 or (unknown and kind is PixelFlag):
        raise ValueError(f"{number:#x} has bits that {kind.__name__} does not define: {unknown:#x}")
    names |= {bit: f"bit {bit}" for bit in range(unknown.bit_length()) if unknown >> bit & 1}
    return [names[bit] for bit in sorted(names)]


def encode(names: Iterable[str], kind: type[PixelFlag] | type[VetFlag]) -> int:
    """The integer with the bits of `names` set.

    Raises
    ------
    KeyError
        For a name that `kind` does not have.
    """
    value = 0
    for name in names:
        value |= kind[name].value
    return value


def describe(kind: type[PixelFlag] | type[VetFlag]) -> list[FlagMeaning]:
    """Every flag of a kind with its bit number, whether it is fatal, and what it means."""
    meanings = []
    for flag in kind:
        bit = flag.value.bit_length() - 1
        if isinstance(flag, PixelFlag):
            meanings.append(FlagMeaning(str(flag.name), bit, bool(flag & FATAL), _PIXEL_TEXT[flag]))
        else:
            meanings.append(FlagMeaning(str(flag.name), bit, False, _VET_TEXT[flag]))
    return meanings
