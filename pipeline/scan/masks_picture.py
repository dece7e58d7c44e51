"""The binned picture of a field with its background in it, for finders of large faint light.

Cells of the background take up what is as large as they are, so that a ghost or a halo leaves only its rim in a
picture relative to them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.scan.masks_profile import FieldProfile
from pipeline.scan.medians import middle

Float32 = npt.NDArray[np.float32]


def sky_picture(profile: FieldProfile, band: int) -> Float32:
    """Mean of each bin's pixels above the field's typical sky, in units of its typical noise of a pixel.

    Returns
    -------
    float32 (bin_y, bin_x)
        NaN where a bin has no data.
    """
    sky = np.float32(np.median(profile.background.values[band]))
    picture: Float32 = (profile.light[band] - sky) / np.float32(np.median(profile.noise.values[band]))
    return picture


def halved(picture: Float32) -> Float32:
    """A picture with bins twice as wide, each the median of the four with data; a lone star is gone from it.

    An odd last row or column stands for itself.
    """
    height, width = (length + length % 2 for length in picture.shape)
    padded = np.full((height, width), np.nan, np.float32)
    padded[: picture.shape[0], : picture.shape[1]] = picture
    four = np.sort(np.stack([padded[dy::2, dx::2] for dy in (0, 1) for dx in (0, 1)]), axis=0)
    return middle(four, np.isfinite(four).sum(axis=0))
