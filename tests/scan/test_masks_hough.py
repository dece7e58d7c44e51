from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import maximum_filter
from skimage.transform import hough_line

from pipeline.scan.masks_hough import LineCounts, count_lines, line_angles


@pytest.mark.parametrize("shape", [(90, 120), (120, 90), (64, 64)])
def test_counts_are_those_of_the_usual_transform(shape: tuple[int, int]) -> None:
    lit = np.random.default_rng(1).random(shape) < 0.1
    expected, _, _ = hough_line(lit, line_angles(shape))
    np.testing.assert_array_equal(count_lines(lit).T, expected)


def test_lines_come_in_the_order_of_the_dumb_way_also_after_one_was_erased() -> None:
    random = np.random.default_rng(2)
    lit = random.random((100, 130)) < 0.05
    for step in range(100):
        lit[step, 20 + step // 2] = lit[step, 110 - step] = True
    lines = LineCounts(lit)
    assert lines.fullest(lit, 6.0, 30.0) == dumb(lit, 6.0, 30.0)
    rest = lit.copy()
    for step in range(100):
        rest[step, 18 + step // 2 : 23 + step // 2] = False
    assert lines.fullest(rest, 6.0, 30.0) == dumb(rest, 6.0, 30.0) != dumb(lit, 6.0, 30.0)


def dumb(lit: np.ndarray, significance: float, length: float) -> list[tuple[float, float]]:
    """The whole transform, the whole picture filtered."""
    angles = line_angles((lit.shape[0], lit.shape[1]))
    counts, _, offsets = hough_line(lit, angles)
    whole, _, _ = hough_line(np.ones_like(lit), angles)
    lines = LineCounts(lit)
    chords = lines._chords.T
    assert np.abs(chords - whole)[whole > 20].mean() < 0.5 * whole[whole > 20].mean()
    share = float(lit.mean())
    excess = (counts - share * chords) / np.sqrt(np.maximum(share * (1 - share) * chords, 1.0))
    excess[chords < length] = 0.0
    crest = (excess == maximum_filter(excess, 15)) & (excess >= 0.5 * significance)
    rows, columns = np.nonzero(crest)
    order = np.argsort(-excess[rows, columns], kind="stable")[:200]
    return [(float(angles[columns[best]]), float(offsets[rows[best]])) for best in order]
