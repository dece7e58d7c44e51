"""The model's parameters as one vector, standard normal a priori, and what they mean in arcsec."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.lensfit.config import Priors
from pipeline.models.posterior import PARAMETERS

Float64 = npt.NDArray[np.float64]

_FLATTEST = 0.7
"""Ellipticity that no vector reaches; an axis ratio of 0.18."""
_ROUNDEST = 1e-3
"""Ellipticity at which the long axis still has a direction, so that everything can be differentiated."""

_SLIGHT = 0.1
"""Of a prior's standard deviation."""

VECTOR: tuple[str, ...] = (
    *(parameter.name for parameter in PARAMETERS),
    "source_radius",
    "source_sersic",
    "source_e1",
    "source_e2",
    "light_radius",
    "light_sersic",
    "light_e1",
    "light_e2",
)
"""What the elements of a vector stand for: `PARAMETERS` first."""

SIZE = len(VECTOR)
MASS = len(PARAMETERS)
"""How many of them are the network's parameters too."""


_LENGTHS = ("theta_E", "source_radius", "source_sersic", "light_radius", "light_sersic")
"""Log-normal a priori, one and all of them positive."""
_FIRST = [VECTOR.index(name) for name in ("e1", "light_e1", "source_e1")]
_SECOND = [VECTOR.index(name) for name in ("e2", "light_e2", "source_e2")]
_OFFSET = [VECTOR.index(name) for name in ("source_x", "source_y")]
_PROFILES = {name: [VECTOR.index(f"{part}_{name}") for part in ("light", "source")] for name in ("radius", "sersic")}


@dataclass(frozen=True)
class Lens:
    """Models of a lens; lengths in arcsec, angles in radians from x towards y.

    Attributes
    ----------
    theta_E, x, y, q, angle, shear_1, shear_2 : (n,)
        The mass.
    source_x, source_y : (n,)
        In the source plane, from the stamp's centre.
    light_radius, light_n, light_q, light_angle : (n, 2)
        Of the deflector's light and the source's; radii are geometric means of the half-light ellipses' semi-axes.
    """

    theta_E: Tensor
    x: Tensor
    y: Tensor
    q: Tensor
    angle: Tensor
    shear_1: Tensor
    shear_2: Tensor
    source_x: Tensor
    source_y: Tensor
    light_radius: Tensor
    light_n: Tensor
    light_q: Tensor
    light_angle: Tensor


def lens_of(physical: Tensor) -> Lens:
    """The models of physical parameters (n, 17), in the order of `VECTOR`."""
    e1, e2 = physical[:, _FIRST], physical[:, _SECOND]
    total = torch.sqrt(e1 * e1 + e2 * e2 + _ROUNDEST**2)
    q, angle = (1 - total) / (1 + total), 0.5 * torch.atan2(e2, e1)
    theta_e, _, _, shear_1, shear_2, dx, dy, x, y = physical[:, :MASS].unbind(-1)
    return Lens(
        theta_e, x, y, q[:, 0], angle[:, 0], shear_1, shear_2, x + dx, y + dy,
        physical[:, _PROFILES["radius"]], physical[:, _PROFILES["sersic"]], q[:, 1:], angle[:, 1:],
    )  # fmt: skip


def physical_of(vector: Tensor, priors: Priors) -> Tensor:
    """Physical parameters of vectors, (..., 17), in the order of `VECTOR` and in arcsec.

    All elements at once: done one by one, these few numbers would take as long as the images.
    """
    scale, median, positive, offset, pairs = (part.to(vector.dtype) for part in _constants(priors))
    scaled = scale * vector
    values = torch.where(positive > 0, median * torch.exp(positive * scaled), scaled)
    squares = scaled[..., _FIRST].square() + scaled[..., _SECOND].square()
    # Ellipticities are bent into the circle of `_FLATTEST`; near 0 this is the identity.
    shrunk = torch.rsqrt(1 + squares / _FLATTEST**2)
    return values * (1 + (values[..., :1] - 1) * offset) * (1 + (shrunk - 1) @ pairs)


@lru_cache(maxsize=8)
def _constants(priors: Priors) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What turns vectors into physical parameters.

    Scales and medians of the elements (17,); which of them are positive, and which are offsets, as 1 and 0 (17,); and
    which belong to each of the three ellipticities (3, 17).
    """
    lengths = {name: getattr(priors, name) for name in _LENGTHS}
    linear = dict.fromkeys(("e1", "e2"), priors.mass_ellipticity)
    linear |= dict.fromkeys(("shear_1", "shear_2"), priors.shear)
    linear |= dict.fromkeys(("source_x", "source_y"), priors.source_offset)
    linear |= dict.fromkeys(("lens_x", "lens_y"), priors.lens_offset)
    linear |= dict.fromkeys(("source_e1", "source_e2"), priors.source_ellipticity)
    linear |= dict.fromkeys(("light_e1", "light_e2"), priors.light_ellipticity)
    scale = [lengths[name].scatter if name in lengths else linear[name] for name in VECTOR]
    median = [lengths[name].median if name in lengths else 1.0 for name in VECTOR]
    positive, offset, pairs = np.isin(VECTOR, _LENGTHS), np.zeros(SIZE), np.zeros((3, SIZE))
    offset[_OFFSET] = 1
    pairs[range(3), _FIRST] = pairs[range(3), _SECOND] = 1
    with torch.inference_mode(False):
        return (
            torch.tensor(scale, dtype=torch.float64),
            torch.tensor(median, dtype=torch.float64),
            torch.from_numpy(positive.astype(np.float64)),
            torch.from_numpy(offset),
            torch.from_numpy(pairs),
        )


def vector_of_mass(samples: npt.NDArray[np.floating], priors: Priors) -> Float64:
    """Vectors of given values of `PARAMETERS`, the light's parameters near their priors' medians.

    Light is given a slight ellipticity: a round profile's long axis has no direction, and no derivative either.

    Parameters
    ----------
    samples : (n, 9)
        theta_E positive; ellipticities beyond what a vector can reach are brought inside.

    Returns
    -------
    float64 (n, 17)
    """
    given = np.asarray(samples, np.float64)
    vectors = np.zeros((len(given), SIZE))
    vectors[:, MASS:] = _SLIGHT
    theta_e = np.maximum(given[:, 0], 1e-3)
    vectors[:, 0] = np.log(theta_e / priors.theta_E.median) / priors.theta_E.scatter
    total = np.minimum(np.hypot(given[:, 1], given[:, 2]), 0.95 * _FLATTEST)
    shrunk = total / np.maximum(np.hypot(given[:, 1], given[:, 2]), 1e-12)
    straight = shrunk / np.sqrt(1 - (total / _FLATTEST) ** 2) / priors.mass_ellipticity
    vectors[:, 1:3] = given[:, 1:3] * straight[:, None]
    vectors[:, 3:5] = given[:, 3:5] / priors.shear
    vectors[:, 5:7] = given[:, 5:7] / (priors.source_offset * theta_e)[:, None]
    vectors[:, 7:9] = given[:, 7:9] / priors.lens_offset
    return vectors
