"""Simulated stamps and what is true of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.sims.artefacts.window import Mask
from pipeline.sims.config.stamps import SimsConfig
from pipeline.sims.render.light import Float32


@dataclass(frozen=True)
class StampTruth:
    """What was put into stamps, one element a stamp; NaN where a stamp has no lens.

    Attributes
    ----------
    kind : int8
        Index into `config.names.KINDS`.
    theta_E, arc_snr, arc_share : float32
        Arcsec; S/N of the arc in its best band; share of its flux that is visible (`render.visibility.visible_share`).
    lens_mag, source_mag : float32
        r magnitude of the deflector, and of the source before lensing.
    lens_redshift, source_redshift : float32
    dispersion : float32, km/s
        Of an isothermal sphere of this theta_E.
    quasar_images : int8
        Images of a lensed quasar; 0 for lensed galaxies and where there is no lens.
    separation : float32, arcsec
        Between the two images of a quasar that are farthest apart; NaN without one.
    red_source : bool
    source_id : int64
        Of a real galaxy as the source; -1 for other sources and for none.
    x, y : float32, arcsec
        Where the central object is from the stamp's centre.
    pixel_scale : float32, arcsec
        True scale; the stamp is labelled with the nominal one.
    seeing : float32 (n, band), arcsec
    artefacts : uint32
        PixelFlags of artefacts anywhere in the stamp.
    """

    kind: npt.NDArray[np.int8]
    theta_E: Float32
    arc_snr: Float32
    arc_share: Float32
    lens_mag: Float32
    source_mag: Float32
    lens_redshift: Float32
    source_redshift: Float32
    dispersion: Float32
    quasar_images: npt.NDArray[np.int8]
    separation: Float32
    red_source: npt.NDArray[np.bool_]
    source_id: npt.NDArray[np.int64]
    x: Float32
    y: Float32
    pixel_scale: Float32
    seeing: Float32
    artefacts: Mask


@dataclass(frozen=True)
class SimulatedStamps:
    """Stamps with their labels and truth.

    Attributes
    ----------
    image : float32 (n, band, y, x), nJy
        NaN where there is no data.
    ivar : float32 (n, band, y, x), nJy^-2
    mask : uint32 (n, band, y, x)
        Truth about artefacts, PixelFlag bits 0-15, found by the survey or not.
    label : int8 (n,)
        1 for a lens, 0 for none.
    arc : float32 (n, y, x), nJy
        Light of the lensed source in the detection band, without noise; 0 where there is no lens.
    truth : StampTruth
    """

    image: Float32
    ivar: Float32
    mask: Mask
    label: npt.NDArray[np.int8]
    arc: Float32
    truth: StampTruth


def empty_stamps(config: SimsConfig, n: int) -> SimulatedStamps:
    """Arrays for `n` stamps: truth without a lens, images not yet set."""
    shape = (n, len(config.bands), config.size, config.size)

    def missing() -> Float32:
        return np.full(n, np.nan, np.float32)

    truth = StampTruth(
        kind=np.zeros(n, np.int8),
        theta_E=missing(),
        arc_snr=missing(),
        arc_share=missing(),
        lens_mag=missing(),
        source_mag=missing(),
        lens_redshift=missing(),
        source_redshift=missing(),
        dispersion=missing(),
        quasar_images=np.zeros(n, np.int8),
        separation=missing(),
        red_source=np.zeros(n, np.bool_),
        source_id=np.full(n, -1, np.int64),
        x=missing(),
        y=missing(),
        pixel_scale=missing(),
        seeing=np.full((n, len(config.bands)), np.nan, np.float32),
        artefacts=np.zeros(n, np.uint32),
    )
    return SimulatedStamps(
        image=np.empty(shape, np.float32),
        ivar=np.empty(shape, np.float32),
        mask=np.empty(shape, np.uint32),
        label=np.zeros(n, np.int8),
        arc=np.empty((n, config.size, config.size), np.float32),
        truth=truth,
    )
