"""How a survey is described: one TOML file says where its pixels are and what they mean.

The smallest useful file::

    name = "mysurvey"
    release = "dr1"
    root = "${MY_DATA}/dr1"            # relative paths start at the folder of this file; s3://BUCKET/KEY may be one
    zero_point = [{ keyword = "MAGZERO" }, { magnitude = "22.5 mag" }]

    [bands]                            # canonical band = the survey's own name of the filter
    g = "g"
    r = "r"
    i = "i"

    [planes.image]
    path = "{field_id}/{field_id}_{native}.fits"
    [planes.ivar]
    path = "{field_id}/{field_id}_{native}_ivar.fits"
    [planes.mask]
    path = "{field_id}/{field_id}_{native}_mask.fits"
    bits = { SATURATED = [1], COSMIC_RAY = [4, 5] }

**Paths** are templates below `root`. `{field_id}` is the field, `{native}` the survey's name of the filter,
`{band}` its canonical name, `{token}` the band's `token` (else `{native}`); any other name is a key of the field,
found in the paths themselves (`{tract}`, `{patch}`, `{run}`). `{run:06d}` pads a number, `{field_id:.3}` takes the
first three letters. `*` and `?` stand for what does not matter, such as a processing number, and must match one
file. A list of templates is tried in order. A plane without `path` is in the image's file; `hdu` is a number, an
EXTNAME (which may hold `{native}`, `{band}`, `{token}`), or left out for the first two-dimensional image.

**Fields** are by default all that the image template finds. `[fields]` may say otherwise: `glob` with `pattern` (a
regular expression on the path below root whose named groups are the keys), or `table` (FITS, CSV, Parquet) with
`columns = { field_id = "brickname" }`. `id = "{tract}/{patch}"` puts an id together from several keys,
`keys = { tract = "[0-9]+" }` narrows what a key may look like. `missing_band = "empty"` allows fields that lack a
band (its pixels are NODATA); the default, "error", quarantines them.

**Zero points** are alternatives tried in order; see `ZeroPoint`. Everything leaves in nJy (AB 31.4).

**Noise** is one plane of `ivar`, `variance`, `rms` (all in the image's unit), or `weight`: proportional to the
inverse variance with an unknown factor, which is fixed per band from the scatter of the pixels themselves. A pixel
of zero, negative or missing weight is NODATA. Without a noise plane every finite pixel counts.

**Masks** are translated to `PixelFlag` names: `bits` gives bit numbers (0 is the lowest), or names that the
header's `<plane_prefix><name>` keywords (`MP_SAT = 1`) turn into numbers; `codes` gives whole values. What is not
named is left out, and the scan says once a field what it was, unless `ignored` lists it: bits, plane names or codes
that are known to say nothing about a pixel. `[bands.g] mask_bits` adds bits that belong to one band of a mask that
all bands share.

**Catalogue**: `[catalogue]` with `kind = "field"` (a template) or "survey" (Parquet file, folder of Parquet files,
or a HATS catalogue, of which the rows of one field are read); see `CatalogueConfig`.

**Meta**: `[meta.seeing]` and `[meta.gain]` say where those numbers are.

Canonical bands are `u g r i z y` for optical filters and `Y J H Ks` for infrared ones, `VIS` for Euclid's; others
may be made up of letters, digits and `_`. Two bands may not differ in case only, since SQL could not tell them apart.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pipeline.config import Magnitude, StrictModel
from pipeline.flags import PixelFlag
from pipeline.surveys.expressions import check_expression

_BAND = re.compile(r"^[A-Za-z][A-Za-z0-9_]*$")
NOISE_PLANES = ("ivar", "variance", "rms", "weight")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str | int | dict) else value


def _flags_known(value: Mapping[str, Any]) -> Mapping[str, Any]:
    names = [str(flag.name) for flag in PixelFlag]
    for name in value:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"known: {', '.join(names)}."
            raise ValueError(f"no pixel flag {name!r}; {hint}")
    return value


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed), Field(min_length=1)]
Hdu = int | str | None
Bit = Annotated[int, Field(ge=0, le=62)]
BitsOfFlag = dict[str, Annotated[tuple[Bit | str, ...], BeforeValidator(_listed)]]
CodesOfFlag = dict[str, Annotated[tuple[int, ...], BeforeValidator(_listed)]]


class ZeroPoint(StrictModel):
    """What a pixel value of 1 is worth; exactly one of the first six keys.

    Attributes
    ----------
    keyword : str
        Header keyword with the AB magnitude of 1 (of the plane's HDU, else of the primary).
    magnitude : "22.5 mag"
        That magnitude itself.
    flux_keyword, flux : str, float
        The pixel value of magnitude zero, as HSC's FLUXMAG0 has it.
    unit : str
        A flux per pixel that astropy knows: "nJy", "uJy", "Jy"; or "nanomaggy", "maggy".
    unit_keyword : str
        Header keyword with such a unit (BUNIT).
    offset : "1.4 mag"
        Added to the magnitude: AB minus Vega, or a correction.
    per : "exposure" or "second"
        "second": the zero point holds for counts a second while the pixels are counts of the whole exposure, so
        2.5 log10(EXPTIME) is added.
    exposure_keyword : str
    hdu : int or str
        HDU whose header has the keyword, where that is neither the image's nor the primary.
    """

    keyword: str | None = None
    magnitude: Magnitude | None = None
    flux_keyword: str | None = None
    flux: float | None = Field(None, gt=0)
    unit: str | None = None
    unit_keyword: str | None = None
    offset: Magnitude = 0.0
    per: Literal["exposure", "second"] = "exposure"
    exposure_keyword: str = "EXPTIME"
    hdu: Hdu = None

    @model_validator(mode="after")
    def _one_source(self) -> ZeroPoint:
        sources = ("keyword", "magnitude", "flux_keyword", "flux", "unit", "unit_keyword")
        given = [name for name in sources if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(sources)}; has {', '.join(given) or 'none'}")
        return self


ZeroPoints = Annotated[tuple[ZeroPoint, ...], BeforeValidator(_listed)]


class Plane(StrictModel):
    """Where one plane of pixels is: path templates (default: the image's file) and HDU."""

    path: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    hdu: Hdu = None


class ImagePlane(Plane):
    """The image; `blank` is a pixel value that means no data, `scaling` how the values were packed.

    `scaling = "asinh"`: flux = BOFFSET + BSOFTEN (10^(0.4 v) - 10^(-0.4 v)), as Pan-STARRS packs its stacks, with
    both numbers in the plane's header; a plane without BSOFTEN is linear.
    """

    path: Texts
    blank: float | None = None
    scaling: Literal["linear", "asinh"] = "linear"


class NoisePlane(Plane):
    """A noise plane; `scaling` as in `ImagePlane`."""

    scaling: Literal["linear", "asinh"] = "linear"


class MaskPlane(Plane):
    """A mask plane and its meaning: PixelFlag name -> bits or codes.

    Attributes
    ----------
    bits : flag -> bit numbers, or plane names read through `plane_prefix`
    codes : flag -> whole pixel values
    plane_prefix : str
        Start of the header keywords that give a named plane's bit number ("MP_").
    optional : list of str
        Named planes that a header may lack; any other one that it lacks is an error.
    ignored : list of bit numbers, plane names or codes
        Without a meaning here, and not worth a note. What a field's note said stays until its masks are made again.
    """

    bits: BitsOfFlag = Field(default_factory=dict)
    codes: CodesOfFlag = Field(default_factory=dict)
    plane_prefix: str = "MP_"
    optional: tuple[str, ...] = ()
    ignored: Annotated[tuple[int | str, ...], BeforeValidator(_listed)] = ()

    _known = field_validator("bits", "codes")(_flags_known)

    @model_validator(mode="after")
    def _some_meaning(self) -> MaskPlane:
        if bool(self.bits) and bool(self.codes):
            raise ValueError("has both bits and codes; a mask is one or the other")
        return self


class Planes(StrictModel):
    """The planes of a survey; the image, at most one kind of noise, and perhaps a mask."""

    image: ImagePlane
    ivar: NoisePlane | None = None
    variance: NoisePlane | None = None
    rms: NoisePlane | None = None
    weight: NoisePlane | None = None
    mask: MaskPlane | None = None

    @model_validator(mode="after")
    def _one_noise(self) -> Planes:
        given = [name for name in NOISE_PLANES if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"has {' and '.join(given)}; give one of {', '.join(NOISE_PLANES)}")
        return self

    @property
    def noise(self) -> str | None:
        """Which kind of noise plane the survey has."""
        return next((name for name in NOISE_PLANES if getattr(self, name) is not None), None)

    def present(self) -> dict[str, Plane]:
        """Plane name -> plane, for the ones that are described."""
        planes: dict[str, Plane | None] = {"image": self.image, "mask": self.mask}
        planes |= {name: getattr(self, name) for name in NOISE_PLANES}
        return {name: plane for name, plane in planes.items() if plane is not None}


class Band(StrictModel):
    """One band: native names (the first that has a file counts) and what differs from the survey's rule."""

    native: Texts
    token: str | None = None
    zero_point: ZeroPoints | None = None
    planes: dict[Literal["image", "ivar", "variance", "rms", "weight", "mask"], Plane] = Field(default_factory=dict)
    mask_bits: BitsOfFlag = Field(default_factory=dict)

    _known = field_validator("mask_bits")(_flags_known)


def _band(value: Any) -> Any:
    return {"native": value} if isinstance(value, str | list | tuple) else value


class FieldsConfig(StrictModel):
    """Which fields there are; see the module's text."""

    id: str = "{field_id}"
    keys: dict[str, str] = Field(default_factory=dict)
    glob: str | None = None
    pattern: str | None = None
    table: str | None = None
    table_hdu: Hdu = None
    columns: dict[str, str] = Field(default_factory=dict)
    where: str | None = None
    missing_band: Literal["error", "empty"] = "error"

    @field_validator("keys")
    @classmethod
    def _patterns(cls, value: dict[str, str]) -> dict[str, str]:
        for pattern in value.values():
            _compiles(pattern)
        return value

    @field_validator("pattern")
    @classmethod
    def _one_pattern(cls, value: str | None) -> str | None:
        if value is not None:
            _compiles(value)
        return value

    @field_validator("where")
    @classmethod
    def _where(cls, value: str | None) -> str | None:
        return value if value is None else check_expression(value)

    @model_validator(mode="after")
    def _one_way(self) -> FieldsConfig:
        if self.glob is not None and self.table is not None:
            raise ValueError("has both glob and table; fields come from one of them")
        if (self.glob is None) != (self.pattern is None):
            raise ValueError("glob and pattern go together: pattern has a named group for each key, (?P<field_id>...)")
        if self.table is not None and not self.columns:
            raise ValueError('table needs columns, such as { field_id = "brickname" }')
        return self


class CatalogueConfig(StrictModel):
    """The survey's own catalogue, as positions to look at.

    Attributes
    ----------
    kind : "field" or "survey"
        One file a field by a template, or one for the whole survey.
    path : str
        FITS, CSV or Parquet; with kind "survey" a Parquet file, a folder of Parquet files (hive or not), or a HATS
        catalogue, of which only files and row groups that touch the field are read.
    hdu : int or str
        Of a FITS table; the first table by default.
    objid : str
        Column, or integer expression over columns (+ - * // % << >> | & ^ ~), exact in int64.
    source_id : str
        Column with the survey's id where that is text. Without `objid` a row's objid is then its HEALPix-29 index.
    ra, dec : str
        Columns, ICRS degrees.
    magnitudes : band -> column
        AB magnitudes; not finite or above 90 means none.
    fluxes : band -> column
        Fluxes in `flux_unit`; not positive means no magnitude.
    flux_unit : str
        As in `ZeroPoint.unit`.
    where : str
        Expression over columns; rows where it is not true are left out and counted.
    """

    kind: Literal["field", "survey"]
    path: Texts
    hdu: Hdu = None
    objid: str | None = None
    source_id: str | None = None
    ra: str = "ra"
    dec: str = "dec"
    magnitudes: dict[str, str] = Field(default_factory=dict)
    fluxes: dict[str, str] = Field(default_factory=dict)
    flux_unit: str = "nanomaggy"
    where: str | None = None

    @field_validator("objid")
    @classmethod
    def _objid(cls, value: str | None) -> str | None:
        return value if value is None else check_expression(value, integers_only=True)

    @field_validator("where")
    @classmethod
    def _where(cls, value: str | None) -> str | None:
        return value if value is None else check_expression(value)


class MetaConfig(StrictModel):
    """Where a scalar of a field and band is: a header keyword of the image, a column of the field table, or a value.

    `unit` is "arcsec" or "pix" for seeing (FWHM; a sigma is multiplied by `factor` = 2.355), "electron/adu" for
    gain, which leaves as electrons per nJy.
    """

    keyword: str | None = None
    column: str | None = None
    value: float | None = None
    unit: str = "arcsec"
    factor: float = 1.0

    @model_validator(mode="after")
    def _one_source(self) -> MetaConfig:
        if sum(item is not None for item in (self.keyword, self.column, self.value)) != 1:
            raise ValueError("needs exactly one of keyword, column, value")
        if self.unit not in ("arcsec", "pix", "electron/adu", ""):
            raise ValueError(f'unit {self.unit!r} is none of "arcsec", "pix", "electron/adu", ""')
        return self


class SurveyConfig(StrictModel):
    """A survey release; the text at the head of this module is the reference of the format."""

    name: str = Field(min_length=1)
    release: str = Field(min_length=1)
    reference: str = ""
    root: str = "."
    zero_point: ZeroPoints = ()
    bands: dict[str, Annotated[Band, BeforeValidator(_band)]] = Field(min_length=1)
    planes: Planes
    fields: FieldsConfig = FieldsConfig()
    catalogue: CatalogueConfig | None = None
    meta: dict[str, MetaConfig] = Field(default_factory=dict)

    @field_validator("bands")
    @classmethod
    def _band_names(cls, value: dict[str, Band]) -> dict[str, Band]:
        for name in value:
            if not _BAND.match(name):
                raise ValueError(f"band {name!r}: use letters, digits and '_', a letter first")
        lower = [name.lower() for name in value]
        twice = sorted({name for name in value if lower.count(name.lower()) > 1})
        if twice:
            raise ValueError(f"bands {', '.join(twice)} differ in case only")
        return value

    @model_validator(mode="after")
    def _zero_points_given(self) -> SurveyConfig:
        without = [name for name, band in self.bands.items() if not (band.zero_point or self.zero_point)]
        if without:
            raise ValueError(f"no zero_point for band {', '.join(without)}; add zero_point = [{{ keyword = ... }}]")
        return self


def _compiles(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
