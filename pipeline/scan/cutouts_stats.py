"""What vetting needs to know of a stamp's pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.flags import PixelFlag, either, fatal

Float32 = npt.NDArray[np.float32]
Int32 = npt.NDArray[np.int32]
UInt32 = npt.NDArray[np.uint32]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class StampStats:
    """One element a stamp, in the order of the stamps.

    Attributes
    ----------
    artefact_fraction : float32 (n,)
        Share of the stamp's pixels under a fatal flag in any band, NODATA and pixels off the image included.
    valid_fraction : float32 (n,)
        Share of the stamp's pixels with data, the smallest over the bands.
    centre_flags : uint32 (n,)
        PixelFlag bits (both halves folded) of any band within the centre radius.
    bands_missing : uint32 (n,)
        Bit b is set where band b has no valid pixel in the stamp.
    npix : mapping of flag name to int32 (n,)
        Pixels under each flag, the largest over the bands; keys are the names of `PixelFlag` in lower case.
    """

    artefact_fraction: Float32
    valid_fraction: Float32
    centre_flags: UInt32
    bands_missing: UInt32
    npix: Mapping[str, Int32]

    def __len__(self) -> int:
        return len(self.artefact_fraction)


def stamp_stats(mask: UInt32, centre_radius: float) -> StampStats:
    """Statistics of stamps from their masks.

    Parameters
    ----------
    mask : uint32 (n, band, y, x)
    centre_radius : float
        Pixels, from the stamp's own pixel at index size // 2; a pixel belongs if its centre does.

    Returns
    -------
    StampStats
        Of n rows; n may be 0.
    """
    number, bands, height, width = mask.shape
    area = height * width
    folded = mask.reshape(number * bands, area)
    present = np.bitwise_or.reduce(folded, axis=1)
    flagged = np.flatnonzero(present)
    npix = np.zeros((len(PixelFlag), number, bands), np.int32)
    bits = either(present[flagged])
    for place, flag in enumerate(PixelFlag):
        rows = flagged[(bits & np.uint32(flag)) != 0]
        if rows.size:
            counts = ((either(folded[rows]) & np.uint32(flag)) != 0).sum(axis=1, dtype=np.int32)
            npix[place].reshape(-1)[rows] = counts
    missing = npix[list(PixelFlag).index(PixelFlag.NODATA)]
    artefact = np.zeros(number, np.float32)
    touched = np.flatnonzero(fatal(present).reshape(number, bands).any(axis=1))
    artefact[touched] = fatal(mask[touched]).any(axis=1).sum(axis=(1, 2)) / area
    inside = _centre(height, width, centre_radius)
    centre = np.bitwise_or.reduce(mask[:, :, inside].reshape(number, -1), axis=1) if number else np.zeros(0, np.uint32)
    empty = missing == area
    return StampStats(
        artefact,
        ((area - missing.max(axis=1, initial=0)) / area).astype(np.float32),
        either(centre),
        (empty.astype(np.uint32) << np.arange(bands, dtype=np.uint32)[None, :]).sum(axis=1).astype(np.uint32),
        {str(flag.name).lower(): npix[place].max(axis=1, initial=0) for place, flag in enumerate(PixelFlag)},
    )


def _centre(height: int, width: int, radius: float) -> Bool:
    y, x = np.indices((height, width))
    inside: Bool = (y - height // 2) ** 2 + (x - width // 2) ** 2 <= radius * radius
    return inside
