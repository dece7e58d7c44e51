"""How a package wants its stamps normalised, as its card says it; `normalise` does it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from pipeline.config import Arcsec, StrictModel


class NormalisationConfig(StrictModel):
    """How stamps become channels, unless another `kind` is named.

    `adaptive_asinh` gives two stretches of each band and what is known of their validity:

    1. faint: asinh(x / (noise_softening * sigma)) / (10 asinh(1 / noise_softening)) of each band in units of
       its own noise, so that the gain of a band drops out;
    2. bright: asinh(x / (peak_softening * peak)) / asinh(1 / peak_softening), with one peak for all bands,
       that of the object in the centre, so that its colours stay and a bright elliptical doesn't swamp its
       arc (after Lupton et al. 2004, PASP 116, 133);
    3. where asked for, difference: each band but the last minus the last at the core's colour, stretched like the
       faint one (`colour_difference`), in which a galaxy of one colour vanishes and bluer arcs stay.

    Attributes
    ----------
    noise_softening : float
        In units of the noise.
    peak_softening : float
        Share of the central peak where the bright stretch turns from linear to logarithmic.
    peak_radius : arcsec
        Half the side of the central square in which the peak is looked for.
    frame : arcsec
        Width of the frame at the edge of the stamp that background and noise are measured in.
    floor_sigma : float
        The peak is at least this many times the noise.
    difference : bool
        Whether there are channels of colour differences; bands then run from blue to red.
    core : arcsec
        Half the side of the square that the core's colour is measured in.
    largest_ratio : float
        A core is taken for at most this many times as bright in a band as in the last one; beyond, it is noise.
    validity : "share", "bands" or "none"
        How a network is told which pixels are valid: by one channel, the share of bands that are; by one channel a
        band; or not at all, so that a gap is a patch at the background's level.
    """

    kind: Literal["adaptive_asinh"] = "adaptive_asinh"
    noise_softening: float = Field(2.0, gt=0)
    peak_softening: float = Field(0.05, gt=0, lt=1)
    peak_radius: Arcsec = Field("1.5 arcsec", validate_default=True)
    frame: Arcsec = Field("2.4 arcsec", validate_default=True)
    floor_sigma: float = Field(10.0, gt=0)
    difference: bool = False
    core: Arcsec = Field("0.9 arcsec", validate_default=True)
    largest_ratio: float = Field(3.0, gt=0)
    validity: Literal["share", "bands", "none"] = "share"

    def channels(self, bands: int) -> int:
        """How many channels `normalise` makes of a number of bands."""
        return len(self.groups(bands))

    @property
    def blank_where_invalid(self) -> bool:
        """Whether an invalid pixel reads as blank sky, so that a network can do without a band: 0 is the background."""
        return True

    def identity(self) -> dict[str, Any]:
        """What of it a fingerprint is made of; a key that packages are older than counts from its default on."""
        values = self.model_dump()
        if self.validity == "share":
            del values["validity"]
        return values

    def groups(self, bands: int) -> tuple[int, ...]:
        """What each channel is: 0 a faint stretch, 1 a bright one, 2 validity, 3 a colour difference."""
        told = {"share": 1, "bands": bands, "none": 0}[self.validity]
        return (*[0] * bands, *[1] * bands, *[3] * (bands - 1 if self.difference else 0), *[2] * told)


class MinMaxConfig(StrictModel):
    """Each band of each stamp from 0 to 1 between its own smallest and largest valid pixel.

    That of Wilde et al. 2022 (MNRAS 512, 3464), for their networks. One bright pixel darkens all the others.
    """

    kind: Literal["min_max"]

    def channels(self, bands: int) -> int:
        """One for each band."""
        return bands

    @property
    def blank_where_invalid(self) -> bool:
        """Whether an invalid pixel reads as blank sky: 0 is the darkest pixel, far below the sky."""
        return False

    def identity(self) -> dict[str, Any]:
        """What of it a fingerprint is made of."""
        return self.model_dump()

    def groups(self, bands: int) -> tuple[int, ...]:
        """All of one kind."""
        return (0,) * bands


def _kind(value: Any) -> Any:
    return value.get("kind", "adaptive_asinh") if isinstance(value, dict) else getattr(value, "kind", None)


Normalisation = Annotated[
    Annotated[NormalisationConfig, Tag("adaptive_asinh")] | Annotated[MinMaxConfig, Tag("min_max")],
    Discriminator(_kind, custom_error_type="kind", custom_error_message='kind must be "adaptive_asinh" or "min_max"'),
]
"""Any of them, told apart by `kind`; `adaptive_asinh` where none is named."""
