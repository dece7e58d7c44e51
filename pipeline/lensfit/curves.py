"""Critical lines and caustics of a lens."""

from __future__ import annotations

import numpy as np
import torch
from skimage.measure import find_contours

from pipeline.lensfit.observation import Float64
from pipeline.lensfit.parameters import Lens
from pipeline.lensfit.scene import deflection

_POINTS = 301
"""Along each axis of the grid on which the magnification is computed; odd, so that none is nearer the middle."""
_REACH = 2.5
"""Einstein radii from the deflector to the grid's border."""
_INNERMOST = 0.2
"""Einstein radii below which a line is the softened centre's, which a singular mass doesn't have."""


def critical_lines(lens: Lens) -> list[Float64]:
    """Where an image is magnified without bound: det(1 - d alpha / d theta) = 0.

    Parameters
    ----------
    lens : Lens
        One, of tensors (1,).

    Returns
    -------
    list of float64 (m, 2), arcsec
        Closed lines of (x, y) from the stamp's centre.
    """
    theta_e, x0, y0 = (float(part[0]) for part in (lens.theta_E, lens.x, lens.y))
    offsets = np.linspace(-_REACH, _REACH, _POINTS) * theta_e
    step = float(offsets[1] - offsets[0])
    ax, ay = _deflected(lens, x0 + offsets[None, :], y0 + offsets[:, None])
    xy, xx = np.gradient(ax, step)
    yy, yx = np.gradient(ay, step)
    lines = []
    for line in find_contours((1 - xx) * (1 - yy) - xy * yx, 0.0):
        around = (line[:, ::-1] - (_POINTS - 1) / 2) * step
        if float(np.hypot(*around.T).mean()) > _INNERMOST * theta_e:
            lines.append(around + np.array([x0, y0]))
    return lines


def caustics(lens: Lens, lines: list[Float64]) -> list[Float64]:
    """Where critical lines are in the source plane, as `critical_lines` gives them."""
    found = []
    for line in lines:
        ax, ay = _deflected(lens, line[None, :, 0], line[None, :, 1])
        found.append(line - np.stack([ax[0], ay[0]], axis=-1))
    return found


def _deflected(lens: Lens, x: Float64, y: Float64) -> tuple[Float64, Float64]:
    with torch.no_grad():
        ax, ay = deflection(lens, torch.from_numpy(np.asarray(x)), torch.from_numpy(np.asarray(y)))
    return ax[0].double().numpy(), ay[0].double().numpy()
