"""8-bit colour pictures as if they were fluxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

BANDS = ("i", "r", "g")
"""What red, green and blue stand for."""

_SOFTENING = 0.05
_DITHER_SEED = 20260131


def fluxes(pictures: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Undo the usual asinh stretch of colour pictures, roughly.

    A picture has lost its fluxes: its stretch is unknown, its noise is clipped and rounded, bright cores are
    white. Levels v (0 to 1) are taken for asinh(x / 0.05) / asinh(20) (Lupton et al. 2004, PASP 116, 133,
    with a typical softening) and x is returned; a dither of half a level, the same for the same shape, stands
    in for the noise that rounding took. Scores of pictures are therefore worth less than those of images.

    Parameters
    ----------
    pictures : uint8 (n, y, x, 3), red, green, blue

    Returns
    -------
    float32 (n, 3, y, x)
        In the order of `BANDS`, in units of the brightest level.
    """
    levels = np.moveaxis(np.asarray(pictures, dtype=np.float32), -1, 1)
    dither = np.random.default_rng(_DITHER_SEED).uniform(-0.5, 0.5, levels.shape[1:]).astype(np.float32)
    stretched = (levels + dither) / np.float32(255)
    answer: npt.NDArray[np.float32] = (_SOFTENING * np.sinh(stretched * np.arcsinh(1 / _SOFTENING))).astype(np.float32)
    return answer
