"""What is true of every stamp of a pool, and stamps with their truth."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Generic, Self, TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.sims.artefacts.window import Mask
from pipeline.sims.render.light import Float32

UNKNOWN = {"fill": np.nan, "dtype": np.float32}
"""Metadata of a field: what its column holds where nothing is known of a stamp, and of which type."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What stamps show, one element a stamp; NaN where a stamp has no lens. The names are a pool's columns.

    Attributes
    ----------
    kind : int8
        Index into the pool's `kinds`; 0 is a lens.
    theta_E, arc_snr, arc_share : float32
        Arcsec; S/N of the arc in its best band; share of its flux that is visible (`render.visibility.visible_share`).
    lens_mag, source_mag : float32
        r magnitude of the deflector, and of the source before lensing.
    lens_redshift, source_redshift : float32
    dispersion : float32, km/s
        Of an isothermal sphere of this theta_E.
    red_source : bool
    source_id : int64
        Of a real galaxy as the source; -1 for other sources and for none.
    e1, e2 : float32
        Ellipticity of the mass, (1 - q) / (1 + q) times cosine and sine of twice its angle.
    shear_1, shear_2, convergence : float32
        Of everything but the deflector, at its centre and to first order: external shear, a sheet, and neighbours.
    slope : float32
        Of the mass: its density falls as r^-slope.
    source_x, source_y : float32, arcsec
        Where the source is from the deflector, in the source plane.
    lens_x, lens_y : float32, arcsec
        Where the mass is from the stamp's centre.
    magnified : float32
        How many times larger the stamp shows angles than they are: a simulated stamp of scattered pixel scale has the
        pool's nominal one; an injected one was resampled to it.
    centre_x, centre_y : float32, arcsec
        Where the central object is from the stamp's centre.
    true_pixel_scale : float32, arcsec
        Of the sky or survey; the stamp has the pool's nominal one.
    seeing : float32 (n, band), arcsec
    artefacts : uint32
        PixelFlags anywhere in the stamp.
    """

    kind: npt.NDArray[np.int8] = field(metadata={"fill": 0, "dtype": np.int8})
    theta_E: Float32 = field(metadata=UNKNOWN)
    arc_snr: Float32 = field(metadata=UNKNOWN)
    arc_share: Float32 = field(metadata=UNKNOWN)
    lens_mag: Float32 = field(metadata=UNKNOWN)
    source_mag: Float32 = field(metadata=UNKNOWN)
    lens_redshift: Float32 = field(metadata=UNKNOWN)
    source_redshift: Float32 = field(metadata=UNKNOWN)
    dispersion: Float32 = field(metadata=UNKNOWN)
    red_source: npt.NDArray[np.bool_] = field(metadata={"fill": False, "dtype": np.bool_})
    source_id: npt.NDArray[np.int64] = field(metadata={"fill": -1, "dtype": np.int64})
    e1: Float32 = field(metadata=UNKNOWN)
    e2: Float32 = field(metadata=UNKNOWN)
    shear_1: Float32 = field(metadata=UNKNOWN)
    shear_2: Float32 = field(metadata=UNKNOWN)
    convergence: Float32 = field(metadata=UNKNOWN)
    slope: Float32 = field(metadata=UNKNOWN)
    source_x: Float32 = field(metadata=UNKNOWN)
    source_y: Float32 = field(metadata=UNKNOWN)
    lens_x: Float32 = field(metadata=UNKNOWN)
    lens_y: Float32 = field(metadata=UNKNOWN)
    magnified: Float32 = field(metadata={"fill": 1, "dtype": np.float32})
    centre_x: Float32 = field(metadata={"fill": 0, "dtype": np.float32})
    centre_y: Float32 = field(metadata={"fill": 0, "dtype": np.float32})
    true_pixel_scale: Float32 = field(metadata=UNKNOWN)
    seeing: Float32 = field(metadata={**UNKNOWN, "by_band": True})
    artefacts: Mask = field(metadata={"fill": 0, "dtype": np.uint32})

    @classmethod
    def empty(cls, n: int, bands: int) -> Self:
        """Columns for `n` stamps of so many bands, of which nothing is known yet."""
        told = {item.name: item.metadata for item in fields(cls)}
        return cls(
            **{
                name: np.full((n, bands) if "by_band" in about else n, about["fill"], about["dtype"])
                for name, about in told.items()
            }
        )


AnyTruth = TypeVar("AnyTruth", bound=Truth)


@dataclass(frozen=True)
class LabelledStamps(Generic[AnyTruth]):
    """Stamps with their labels and truth.

    Attributes
    ----------
    image : float32 (n, band, y, x), nJy
        NaN where there is no data.
    ivar : float32 (n, band, y, x), nJy^-2
    mask : uint32 (n, band, y, x)
        PixelFlags; of simulated stamps bits 0-15, found by the survey or not, of injected ones as cutouts have them.
    label : int8 (n,)
        1 for a lens, 0 for none.
    arc : float32 (n, y, x), nJy
        Light of the lensed source in the detection band, without noise; 0 where there is no lens.
    truth : Truth
    """

    image: Float32
    ivar: Float32
    mask: Mask
    label: npt.NDArray[np.int8]
    arc: Float32
    truth: AnyTruth


def empty_stamps(truth: AnyTruth, size: int) -> LabelledStamps[AnyTruth]:
    """Stamps of `size` pixels on a side for a truth: no lens, images not yet set."""
    n, bands = truth.seeing.shape
    shape = (n, bands, size, size)
    return LabelledStamps(
        image=np.empty(shape, np.float32),
        ivar=np.empty(shape, np.float32),
        mask=np.empty(shape, np.uint32),
        label=np.zeros(n, np.int8),
        arc=np.zeros((n, size, size), np.float32),
        truth=truth,
    )
