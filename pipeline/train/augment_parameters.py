"""What turns, shifts and zooms of a stamp do to the parameters of its lens."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.models.posterior import NAMES
from pipeline.train.augment_place import Move

_ANGLES = torch.tensor([name in ("theta_E", "source_x", "source_y", "lens_x", "lens_y") for name in NAMES])
_X, _Y = (torch.tensor([NAMES.index(f"{what}_{axis}") for what in ("source", "lens")]) for axis in "xy")
_LENS = tuple(NAMES.index(name) for name in ("lens_x", "lens_y"))
_TWOFOLD = torch.tensor([NAMES.index(name) for name in ("e1", "e2", "shear_1", "shear_2")])
_DIAGONAL = torch.tensor([NAMES.index(name) for name in ("e2", "shear_2")])


def moved_parameters(parameters: Tensor, move: Move, pixel_scale: float) -> Tensor:
    """Parameters of lenses in stamps that were all moved alike.

    Parameters
    ----------
    parameters : float32 (n, p)
        Of `pipeline.models.posterior.PARAMETERS`.
    move : Move
    pixel_scale : float, arcsec

    Returns
    -------
    float32 (n, p), new
        A zoom multiplies what is in arcsec; a shift moves the deflector, to which the source's place is relative; a
        quarter turn takes (x, y) to (y, -x), and ellipticity and shear to their opposites; a mirror changes the sign
        of x and of second components.
    """
    moved = torch.where(_ANGLES, parameters * move.zoom, parameters)
    moved[:, _LENS[0]] += move.right * pixel_scale
    moved[:, _LENS[1]] += move.up * pixel_scale
    for _ in range(move.quarters):
        moved[:, _X], moved[:, _Y] = moved[:, _Y], -moved[:, _X]
        moved[:, _TWOFOLD] *= -1
    if move.mirrored:
        moved[:, _X] *= -1
        moved[:, _DIAGONAL] *= -1
    return moved
