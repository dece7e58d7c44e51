"""What is true of simulated stamps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.sims.render.light import Float32
from pipeline.sims.truth import UNKNOWN, LabelledStamps, Truth


@dataclass(frozen=True, kw_only=True)
class StampTruth(Truth):
    """What was put into stamps; `kind` is an index into `config.names.KINDS`.

    Attributes
    ----------
    quasar_images : int8
        Images of a lensed quasar; 0 for lensed galaxies and where there is no lens.
    separation : float32, arcsec
        Between the two images of a quasar that are farthest apart; NaN without one.
    """

    quasar_images: npt.NDArray[np.int8] = field(metadata={"fill": 0, "dtype": np.int8})
    separation: Float32 = field(metadata=UNKNOWN)


SimulatedStamps = LabelledStamps[StampTruth]
