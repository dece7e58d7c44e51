"""What is true of stamps that were made by injection."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.sims.render.light import Float32, Float64
from pipeline.sims.truth import UNKNOWN, LabelledStamps, Truth


@dataclass(frozen=True, kw_only=True)
class InjectionTruth(Truth):
    """What stamps show; `kind` is an index into `config.injection.INJECTION_KINDS`.

    `lens_mag` and `lens_redshift`, by its colours, are also those of a galaxy without a lens that could have had one;
    `centre_x` and `centre_y` are those of the deflector's light, and 0 for a detection. `artefacts` has the survey's
    flags and found ones.

    Attributes
    ----------
    q_mass, angle_mass : float32
        Axis ratio and angle (radians, from x towards y of the stamp as it is) of the mass.
    objid : int64
    field_id : str
        Of a folder of stamps the file's name.
    ra, dec : float64, degrees
    turn : int8
        Quarter turns (modulo 4), mirrored along x where 4 or more.
    """

    q_mass: Float32 = field(metadata=UNKNOWN)
    angle_mass: Float32 = field(metadata=UNKNOWN)
    objid: npt.NDArray[np.int64] = field(metadata={"fill": 0, "dtype": np.int64})
    field_id: npt.NDArray[np.str_] = field(metadata={"fill": "", "dtype": "U64"})
    ra: Float64 = field(metadata={"fill": np.nan, "dtype": np.float64})
    dec: Float64 = field(metadata={"fill": np.nan, "dtype": np.float64})
    turn: npt.NDArray[np.int8] = field(metadata={"fill": 0, "dtype": np.int8})


InjectedStamps = LabelledStamps[InjectionTruth]
