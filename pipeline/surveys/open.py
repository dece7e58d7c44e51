"""A survey that is open: its fields, where they are, and their pixels in nJy."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from astropy.wcs import WCS

from pipeline import config as configuration
from pipeline.errors import BadSurveyData, ConfigError, NoCoverage
from pipeline.field import Field, FieldImage
from pipeline.geometry import FieldGeometry, pixel_scale
from pipeline.io.fits import FitsPlane, open_plane
from pipeline.io.folders import folder_of
from pipeline.io.object_path import ObjectPath
from pipeline.io.places import place
from pipeline.surveys import catalogues
from pipeline.surveys.checks import celestial_wcs, check_same_grid, check_same_shape, has_pixels, weight_scale
from pipeline.surveys.description import Band, SurveyConfig
from pipeline.surveys.fields import FieldList, list_fields
from pipeline.surveys.mask_check import check_masks
from pipeline.surveys.paths import is_wild, render, why_missing
from pipeline.surveys.pixels import BandSource, BlockReader, MaskMeaning, mask_meaning
from pipeline.surveys.zero_points import njy_per_value


def open_survey(reference: str | os.PathLike[str], relative_to: Path | None = None) -> Survey:
    """A survey from its TOML.

    Parameters
    ----------
    reference : str or path
        Path of a survey TOML, or name of a shipped one ("kids-viking").
    relative_to : Path, optional
        Folder that a relative path starts from; the working directory if None.

    Raises
    ------
    ConfigError
        For anything wrong with the file, and for an environment variable in it that is not set.
    """
    path = configuration.find(reference, "surveys", relative_to)
    return Survey(configuration.load(SurveyConfig, path), path)


class Survey:
    """One release of an imaging survey, as its TOML describes it.

    Attributes
    ----------
    description : SurveyConfig
    path : Path
        Of the TOML.
    root : Path or ObjectPath
        Folder that all its templates start from.
    folder : Folder
        What is there; of a store, as it was when it was first asked.
    name, release : str
    bands : tuple of str
        Canonical bands in the order of the TOML.
    catalogue_kind : "none", "field" or "survey"
    """

    def __init__(self, description: SurveyConfig, path: Path) -> None:
        self.description = description
        self.path = path.absolute()
        root = place(description.root)
        self.root = root if isinstance(root, ObjectPath) else (self.path.parent / root.expanduser()).absolute()
        self.folder = folder_of(self.root)
        self.name = description.name
        self.release = description.release
        self.bands = tuple(description.bands)
        self.catalogue_kind: Literal["none", "field", "survey"] = (
            "none" if description.catalogue is None else description.catalogue.kind
        )

    @cached_property
    def _fields(self) -> FieldList:
        return list_fields(self.description, self.folder, str(self.path))

    def fields(self) -> FieldList:
        """Every field, sorted by id; file names or the field table are read once, no pixel is.

        Raises
        ------
        BadSurveyData
            If there is none, or the root or field table is not there.
        """
        return self._fields

    def field(self, field_id: str) -> Field:
        """One field by its id.

        Raises
        ------
        ConfigError
            If the survey has no such field; the message has the nearest id.
        """
        fields = self._fields
        number = fields.number(field_id)
        if number is None:
            near = difflib.get_close_matches(field_id, fields.ids, n=1)
            hint = f'did you mean "{near[0]}"?' if near else f"the first is {fields.ids[0]!r}."
            raise ConfigError(f"{self.path}: no field {field_id!r} among {len(fields)}; {hint}")
        return fields[number]

    def geometry(self, field: Field) -> FieldGeometry:
        """Shape and WCS of a field from the header of its first band that has a file.

        Raises
        ------
        BadSurveyData
            If no header can be read, or it has no usable WCS.
        """
        problem: BadSurveyData | None = None
        for band in field.planes:
            try:
                plane = self._plane(field, band, "image")
                return FieldGeometry(field.field_id, plane.shape, celestial_wcs(plane))
            except BadSurveyData as error:
                problem = problem or error
        raise problem or BadSurveyData(f"field {field.field_id}: no band has a file below {self.root}.")

    def open(self, field: Field, bands: Sequence[str]) -> FieldImage:
        """A field's pixels in nJy, lazily by rows.

        Headers are read and checked here; of the pixels only as many rows as it takes to see that each band has two
        different valid values (a few hundred, unless a band is empty). Pixels whose weight is not positive are
        NODATA; a band of which that is true throughout is empty.

        Parameters
        ----------
        field : Field
        bands : sequence of str
            Canonical, in the order wanted.

        Raises
        ------
        ConfigError
            For a band that the survey does not have.
        NoCoverage
            If no band has a single valid pixel.
        BadSurveyData
            For a file that is missing, truncated or of another grid, an HDU or keyword that is not there, a WCS that
            is missing or singular, a constant band, a band that is empty while others are not (unless
            `fields.missing_band = "empty"`), weights that are negative and never positive.
        """
        self._check_bands(bands)
        allow_empty = self.description.fields.missing_band == "empty"
        planes = {band: self._plane(field, band, "image") for band in bands if self._has_file(field, band, allow_empty)}
        if not planes:
            raise NoCoverage(f"field {field.field_id}: no file in any of {', '.join(bands)}.")
        wcs = _one_grid(planes)
        sources = {band: self._source(field, band, plane) for band, plane in planes.items()}
        filled = {band: source for band, source in sources.items() if has_pixels(source)}
        if not filled:
            raise NoCoverage(f"field {field.field_id}: no valid pixel in any of {', '.join(bands)}.")
        empty = [band for band in sources if band not in filled]
        if empty and not allow_empty:
            raise BadSurveyData(
                f"{sources[empty[0]].image.where}: band {empty[0]} has no valid pixel while {', '.join(filled)} has; "
                'fetch it again, leave the field out, or set fields.missing_band = "empty" in the survey\'s TOML.'
            )
        shape = next(iter(planes.values())).shape
        return FieldImage(
            field=field,
            bands=tuple(bands),
            shape=shape,
            wcs=wcs,
            pixel_scale=pixel_scale(wcs),
            read=BlockReader(tuple(sources.get(band) for band in bands), shape),
            has_ivar=self.description.planes.noise is not None,
            may_lack_bands=allow_empty,
            meta=self._meta(field, filled, pixel_scale(wcs)),
        )

    def check_masks(self, field_image: FieldImage) -> None:
        """Note what is odd about the mask planes of a field that this survey has opened; see `mask_check`.

        Raises
        ------
        BadSurveyData
            If a plane can't be read.
        """
        if isinstance(field_image.read, BlockReader):
            sources = zip(field_image.bands, field_image.read.sources, strict=True)
            named = {band: source for band, source in sources if source is not None}
            check_masks(named, self.description, field_image.field.field_id)

    def detections(self, field: Field, field_image: FieldImage) -> catalogues.ExternalDetections:
        """The rows of the survey's own catalogue that lie on a field.

        Raises
        ------
        ConfigError
            If the survey's TOML describes no catalogue.
        BadSurveyData
            For a catalogue that is missing or unreadable, and for ids that are not integers or stand there twice.
        """
        if self.description.catalogue is None:
            raise ConfigError(
                f'{self.path}: survey {self.name} has no [catalogue]; use detect.method "sep" or "grid", or add one.'
            )
        geometry = FieldGeometry(field.field_id, field_image.shape, field_image.wcs)
        # A listing of a store that is kept would outlive a change of the catalogue on a worker that lives on.
        return catalogues.read(self.description.catalogue, folder_of(self.root), field, geometry)

    def catalogue_files(self, field: Field) -> tuple[str, ...]:
        """Files that `detections` of a field would read; what its fingerprint has to cover. Empty without one."""
        if self.catalogue_kind == "none":
            return ()
        if self._catalogue is None:
            return (str(field.catalogue),)
        return tuple(str(file) for file in self._catalogue.near(self.geometry(field)))

    @cached_property
    def _catalogue(self) -> catalogues.CatalogueFiles | None:
        catalogue = self.description.catalogue
        if catalogue is None or catalogue.kind == "field":
            return None
        return catalogues.survey_files(catalogue, self.folder)

    def identity(self, path: str) -> list[str | int]:
        """What makes one of the survey's files the same file: path, size, and time here or ETag in a store.

        A file that is not there has size -1: whoever opens it says so, and its return is a change.
        """
        return self.folder.identity(path)

    def provenance(self) -> dict[str, Any]:
        """What pixels and masks depend on beside the files: the description without place, fields and catalogue."""
        left_out: Any = {"root": True, "reference": True, "catalogue": True, "planes": {"mask": {"ignored"}}}
        return self.description.model_dump(mode="json", exclude=left_out) | {
            "fields": {"missing_band": self.description.fields.missing_band}
        }

    def catalogue_provenance(self) -> dict[str, Any] | None:
        """What external detections depend on beside the files, None without a catalogue."""
        catalogue = self.description.catalogue
        return None if catalogue is None else catalogue.model_dump(mode="json")

    def _check_bands(self, bands: Sequence[str]) -> None:
        for band in bands:
            if band not in self.description.bands:
                near = difflib.get_close_matches(band, self.bands, n=1, cutoff=0.3)
                hint = f' Did you mean "{near[0]}"?' if near else ""
                raise ConfigError(f"survey {self.name} has no band {band!r}; it has {', '.join(self.bands)}.{hint}")

    def _has_file(self, field: Field, band: str, allow_empty: bool) -> bool:
        if band in field.planes and (not allow_empty or place(field.planes[band]["image"]).is_file()):
            return True
        if allow_empty:
            return False
        raise BadSurveyData(f"field {field.field_id}: no file for band {band}; restore it or leave the field out.")

    def _band(self, band: str) -> Band:
        return self.description.bands[band]

    def _plane(self, field: Field, band: str, plane: str) -> FitsPlane:
        path = field.planes[band][plane]
        where = place(path)
        # Opening an object says as much as asking for it first.
        if not where.is_file() if isinstance(where, Path) else is_wild(path):
            raise BadSurveyData(
                f"{why_missing(path)} (field {field.field_id}, band {band}, {plane}); restore the file."
            )
        described = self.description.planes.present()[plane]
        override = self._band(band).planes.get(plane)  # type: ignore[call-overload]
        hdu = described.hdu if override is None or override.hdu is None else override.hdu
        if isinstance(hdu, str):
            native = self._band(band).native[0]
            hdu = render(hdu, {"native": native, "band": band, "token": self._band(band).token or native})
        return open_plane(path, hdu)

    def _source(self, field: Field, band: str, image: FitsPlane) -> BandSource:
        planes = self.description.planes
        described = self._band(band)
        kind = planes.noise
        noise = None if kind is None else self._plane(field, band, kind)
        mask = None if planes.mask is None else self._plane(field, band, "mask")
        for other in (noise, mask):
            if other is not None:
                check_same_shape(image, other)
        if mask is not None and not mask.is_integer:
            raise BadSurveyData(f"{mask.where}: holds real numbers where mask bits or codes are expected; check hdu.")
        packed_noise = kind is not None and getattr(planes, kind).scaling == "asinh"
        source = BandSource(
            image=image,
            noise=noise,
            mask=mask,
            kind=kind,
            factor=njy_per_value(image, described.zero_point or self.description.zero_point),
            meaning=MaskMeaning()
            if mask is None or planes.mask is None
            else mask_meaning(mask, planes.mask, described.mask_bits),
            blank=planes.image.blank,
            image_asinh=_asinh(image) if planes.image.scaling == "asinh" else None,
            noise_asinh=_asinh(noise) if noise is not None and packed_noise else None,
        )
        return source if kind != "weight" else _with_scale(source)

    def _meta(self, field: Field, sources: Mapping[str, BandSource], scale: float) -> dict[str, dict[str, float]]:
        meta: dict[str, dict[str, float]] = {}
        for name, item in self.description.meta.items():
            for band, source in sources.items():
                value: Any = item.value
                if item.keyword is not None:
                    value = source.image.keyword(item.keyword)
                elif item.column is not None:
                    value = self._fields.row(field.field_id).get(
                        render(item.column, {"native": self._band(band).native[0]})
                    )
                number = (
                    _float_or_nan(value)
                    * item.factor
                    * {"pix": scale, "electron/adu": 1 / source.factor}.get(item.unit, 1.0)
                )
                if math.isfinite(number):
                    meta.setdefault(name, {})[band] = number
        return meta


def _one_grid(planes: Mapping[str, FitsPlane]) -> WCS:
    (_, first), *others = planes.items()
    wcs = celestial_wcs(first)
    for _, plane in others:
        check_same_shape(first, plane)
        check_same_grid(first, wcs, plane, celestial_wcs(plane))
    return wcs


def _asinh(plane: FitsPlane) -> tuple[float, float] | None:
    softening = plane.header.get("BSOFTEN")
    if softening is None:
        return None
    return _float_or_nan(plane.header.get("BOFFSET", 0.0)), _float_or_nan(softening)


def _with_scale(source: BandSource) -> BandSource:
    return BandSource(**{**source.__dict__, "weight_scale": weight_scale(source)})


def _float_or_nan(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
