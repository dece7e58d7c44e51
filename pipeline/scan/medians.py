"""Medians along the first axis of arrays with holes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]


def middle(ordered: Float32, number: npt.NDArray[np.intp]) -> Float32:
    """Median along the first axis of sorted values, of which the first `number` are finite; NaN for none."""
    columns = np.arange(number.size).reshape(number.shape)
    low, high = np.maximum((number - 1) // 2, 0), np.minimum(number // 2, ordered.shape[0] - 1)
    flat = np.ascontiguousarray(ordered).reshape(-1)
    pair = flat[low * number.size + columns], flat[high * number.size + columns]
    median: Float32 = np.where(number > 0, 0.5 * (pair[0] + pair[1]), np.float32(np.nan)).astype(np.float32)
    return median
