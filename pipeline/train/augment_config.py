"""How a batch is varied: the section `[augment]` of a training config."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.config import Arcsec, StrictModel


class AugmentConfig(StrictModel):
    """How a batch is varied; every stamp keeps its label.

    Shares are of the stamps, for zoom and blur of slices of the batch. Where a share is 0 the variation
    is off.

    Attributes
    ----------
    flips : bool
        Turns by 90 degrees and mirror images.
    shift : arcsec
        Largest shift of the centre in each axis.
    zoom, zoom_share : float
        Largest factor by which a stamp is taken for one of larger or smaller pixels and resampled.
    blur, blur_share, blur_profile, blur_beta : arcsec, float, str, float
        Widest FWHM of a kernel that worsens the seeing, its shape, and the exponent of a Moffat profile.
    shuffle_share : float
        Bands change places: what remains of a lens is its shape.
    gain, band_gain : float
        Standard deviation of the natural logarithm of a factor on all bands, and on each.
    noise, noise_share : float
        Most noise added to a band, in units of the noise that it has.
    background, background_share : float
        Largest offset of a band's background in the middle, and largest rise of it from the middle to an
        edge, in units of the noise.
    picture_share : float
        Stamps that become an 8-bit colour picture and back, as a picture is read for scoring.
    picture_gamma, picture_brightness : float
        Standard deviation of the natural logarithm of the exponent and of the factor on the stretched
        picture.
    jpeg_share, jpeg_quality : float, (int, int)
        Share of these pictures that are JPEG files, and the range of their quality.
    dropout_share : float
        One band is missing: invalid everywhere. Not where there is only one.
    mask_share : float
        Share of the stamps whose artefacts are masked; in the others they stand as they are.
    gap, gap_share : arcsec, float
        Widest synthetic gap; gaps are invalid strips at any place and angle, in one band or all.
    edge, edge_share : arcsec, float
        Least distance of the image's edge from the stamp's middle, and share of the stamps that lie so near to an
        edge, or to a corner, that pixels beyond it are missing in all bands.
    donor_share : float
        Stamps that get one of the real artefacts of `data.artefacts`, where the network draws maps.
    """

    flips: bool = True
    shift: Arcsec = Field("0.6 arcsec", validate_default=True)
    zoom: float = Field(1.25, ge=1, le=2)
    zoom_share: float = Field(0.5, ge=0, le=1)
    blur: Arcsec = Field("0.9 arcsec", validate_default=True)
    blur_share: float = Field(0.15, ge=0, le=1)
    blur_profile: Literal["gaussian", "moffat"] = "gaussian"
    blur_beta: float = Field(3.0, gt=1)
    shuffle_share: float = Field(0.0, ge=0, le=1)
    gain: float = Field(0.3, ge=0)
    band_gain: float = Field(0.1, ge=0)
    noise: float = Field(1.0, ge=0)
    noise_share: float = Field(0.3, ge=0, le=1)
    background: float = Field(1.0, ge=0)
    background_share: float = Field(0.0, ge=0, le=1)
    picture_share: float = Field(0.0, ge=0, le=1)
    picture_gamma: float = Field(0.15, ge=0)
    picture_brightness: float = Field(0.1, ge=0)
    jpeg_share: float = Field(0.5, ge=0, le=1)
    jpeg_quality: tuple[int, int] = (60, 95)
    dropout_share: float = Field(0.0, ge=0, le=1)
    mask_share: float = Field(0.6, ge=0, le=1)
    gap: Arcsec = Field("4 arcsec", validate_default=True)
    gap_share: float = Field(0.2, ge=0, le=1)
    edge: Arcsec = Field("2 arcsec", validate_default=True)
    edge_share: float = Field(0.0, ge=0, le=1)
    donor_share: float = Field(0.0, ge=0, le=1)
