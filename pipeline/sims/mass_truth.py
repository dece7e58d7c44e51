"""What is true of a lens's mass and source, in the numbers that lens parameters are learnt from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from pipeline.sims.render.lensing import LensedSource
from pipeline.sims.render.mass import Deflector
from pipeline.sims.truth import Truth


@dataclass(frozen=True)
class MassTruth:
    """Mass and source of one lens; names and meaning of the columns of `pipeline.sims.truth.Truth`."""

    e1: float
    e2: float
    shear_1: float
    shear_2: float
    slope: float
    convergence: float
    source_x: float
    source_y: float
    lens_x: float
    lens_y: float

    def turned(self, quarters: int, mirrored: bool) -> MassTruth:
        """As it stands in a stamp turned by so many quarters (`numpy.rot90`), then perhaps mirrored along x.

        A quarter takes (x, y) to (y, -x), and what has two axes alike, ellipticity and shear, to its opposite; a mirror
        changes the sign of x, and of the second components.
        """
        if quarters % 4:
            once = replace(
                self,
                e1=-self.e1,
                e2=-self.e2,
                shear_1=-self.shear_1,
                shear_2=-self.shear_2,
                source_x=self.source_y,
                source_y=-self.source_x,
                lens_x=self.lens_y,
                lens_y=-self.lens_x,
            )
            return once.turned(quarters % 4 - 1, mirrored)
        if not mirrored:
            return self
        return replace(self, e2=-self.e2, shear_2=-self.shear_2, source_x=-self.source_x, lens_x=-self.lens_x)


def mass_truth(source: LensedSource) -> MassTruth:
    """Mass and source of a lens; the source is where its first component, or its first image, is."""
    deflector = source.deflector
    light = source.components[0] if source.components else source.images[0]
    ellipticity = (1 - deflector.q) / (1 + deflector.q)
    convergence, shear_1, shear_2 = tides(deflector)
    return MassTruth(
        e1=float(ellipticity * np.cos(2 * deflector.angle)),
        e2=float(ellipticity * np.sin(2 * deflector.angle)),
        shear_1=deflector.shear_1 + shear_1,
        shear_2=deflector.shear_2 + shear_2,
        slope=deflector.slope,
        convergence=deflector.convergence + convergence,
        source_x=light.x - deflector.x,
        source_y=light.y - deflector.y,
        lens_x=deflector.x,
        lens_y=deflector.y,
    )


def tides(deflector: Deflector) -> tuple[float, float, float]:
    """Convergence and shear of a deflector's neighbours at its centre, to first order.

    An isothermal sphere of Einstein radius t at distance d has t / (2 d) of each, the shear along the tangent. One
    inside the deflector's Einstein radius counts as if it were on it, since what is enclosed no longer grows.
    """
    convergence = shear_1 = shear_2 = 0.0
    for sphere in deflector.neighbours:
        dx, dy = sphere.x - deflector.x, sphere.y - deflector.y
        strength = sphere.theta_E / (2 * max(float(np.hypot(dx, dy)), deflector.theta_E))
        angle = 2 * float(np.arctan2(dy, dx))
        convergence += strength
        shear_1 -= strength * float(np.cos(angle))
        shear_2 -= strength * float(np.sin(angle))
    return convergence, shear_1, shear_2


def tell_mass(truth: Truth, index: int, mass: MassTruth) -> None:
    """Write the mass of a stamp's lens into its truth."""
    for item in fields(mass):
        getattr(truth, item.name)[index] = getattr(mass, item.name)
