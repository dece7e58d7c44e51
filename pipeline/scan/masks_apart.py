"""What was found both as a trail and as a detector edge is one of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pipeline.scan.masks_flags import Shape

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_AXIS_DEGREES = 1.0
_MOSTLY = 0.7


def apart(trails: Sequence[Shape], steps: Sequence[Shape]) -> tuple[list[Shape], list[Shape]]:
    """Settle what was found both as a trail and as a detector edge.

    Steps that cover half of a line and lie in one row or column of the field, to a degree, are a detector's edge,
    and the line is its light. Otherwise the line is a trail, and the steps that run along it are its own flanks.

    Returns
    -------
    trails, steps : lists of Shape
        What is left of each.
    """
    kept_trails: list[Shape] = []
    kept_steps = list(steps)
    for trail in trails:
        along = np.linspace(0.0, 1.0, 200)
        x, y = trail.x0 + along * (trail.x1 - trail.x0), trail.y0 + along * (trail.y1 - trail.y0)
        touching = [step for step in kept_steps if step.band == trail.band and _touched(step, x, y, trail).any()]
        flanking = [step for step in touching if _runs_along(step, trail)]
        covered = np.any([_touched(step, x, y, trail) for step in flanking], axis=0) if flanking else np.zeros(1)
        if covered.mean() >= 0.5 and _slant(flanking, trail) < _AXIS_DEGREES:
            continue
        kept_trails.append(trail)
        flanks = {id(step) for step in flanking}
        kept_steps = [step for step in kept_steps if id(step) not in flanks]
    return kept_trails, kept_steps


def _touched(step: Shape, x: Float64, y: Float64, trail: Shape) -> Bool:
    """Points of a trail that lie on a step's box, or nearer to it than the trail is wide."""
    reach = trail.half_width
    inside: Bool = (np.abs(y - step.y0) <= step.half_width + reach) & (x >= step.x0 - reach) & (x <= step.x1 + reach)
    return inside


def _runs_along(step: Shape, trail: Shape) -> bool:
    """Whether most of a step's box, along its longer side, lies on a trail; an edge that the trail crosses does not."""
    share = np.linspace(0.0, 1.0, 21)
    if step.x1 - step.x0 >= 2 * step.half_width:
        x, y, thin = step.x0 + share * (step.x1 - step.x0), np.full(21, step.y0), step.half_width
    else:
        x, y = np.full(21, (step.x0 + step.x1) / 2), step.y0 + (2 * share - 1) * step.half_width
        thin = (step.x1 - step.x0) / 2
    dx, dy = trail.x1 - trail.x0, trail.y1 - trail.y0
    across = np.abs((x - trail.x0) * dy - (y - trail.y0) * dx) / max(float(np.hypot(dx, dy)), 1e-9)
    return bool((across <= trail.half_width + thin).mean() >= _MOSTLY)


def _slant(steps: Sequence[Shape], trail: Shape) -> float:
    """Degrees by which steps drift off their row or column along a trail; the straighter of their outermost sides."""
    centres = np.array([((step.x0 + step.x1) / 2, step.y0) for step in steps])
    halves = np.array([((step.x1 - step.x0) / 2, step.half_width) for step in steps])
    upright = abs(trail.y1 - trail.y0) > abs(trail.x1 - trail.x0)
    place, side = (1, 0) if upright else (0, 1)
    cells, mine = np.unique(centres[:, place], return_inverse=True)
    if len(cells) == 1:
        return 0.0
    low, high = np.full(len(cells), np.inf), np.full(len(cells), -np.inf)
    np.minimum.at(low, mine, centres[:, side] - halves[:, side])
    np.maximum.at(high, mine, centres[:, side] + halves[:, side])
    slopes = [np.polyfit(cells, sides, 1)[0] for sides in (low, high)]
    return float(np.degrees(np.arctan(np.min(np.abs(slopes)))))
