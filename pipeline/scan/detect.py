"""Where to look: detections of our own, of the survey's catalogue, or a grid.

Every method ends in the same table, `Detections`, sorted by nested HEALPix index of order 29, then `objid`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pipeline.errors import BadSurveyData
from pipeline.field import FieldImage
from pipeline.geometry import to_pixel, to_sky
from pipeline.scan.detect_ids import inherited_ids, spatial_index, unique_ids
from pipeline.scan.detect_sources import aperture_magnitudes, find_sources
from pipeline.scan.masks import FieldMasks
from pipeline.scan_config import DetectConfig

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Strings = npt.NDArray[np.object_]


@dataclass(frozen=True)
class Detections:
    """Positions to look at, one row each.

    Attributes
    ----------
    objid : int64 (n,)
        Unique within the field.
    source_id : object (n,), str or None
        The survey's own id where that is a string.
    ra, dec : float64 (n,), ICRS degrees
    x, y : float64 (n,), pixels
        0-based, on the field's grid, inside the image.
    mags : float32 (n, band), AB mag
        In a circular aperture of `DetectConfig.aperture` diameter, without aperture correction, or the
        survey's own; NaN where the flux is not positive or not measured.
    healpix29 : int64 (n,)
        Nested HEALPix index of order 29; the rows are sorted by it, then by `objid`.
    bands : tuple of str
        Of the columns of `mags`.
    """

    objid: Int64
    source_id: Strings
    ra: Float64
    dec: Float64
    x: Float64
    y: Float64
    mags: Float32
    healpix29: Int64
    bands: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.objid)


class ExternalCatalogue(Protocol):
    """A survey's own detections of one field, as `Survey.detections` gives them."""

    @property
    def objid(self) -> Int64:
        """Integer ids (n,), each once."""
        ...

    @property
    def ra(self) -> Float64:
        """ICRS degrees (n,)."""
        ...

    @property
    def dec(self) -> Float64:
        """ICRS degrees (n,)."""
        ...


def detect(
    field_image: FieldImage,
    masks: FieldMasks,
    config: DetectConfig,
    memory_mb: float,
    external: ExternalCatalogue | None = None,
    previous: Detections | None = None,
) -> Detections:
    """The detections of a field by the configured method.

    Sources on flagged pixels are detections like others: rows are flagged later, never dropped.

    Parameters
    ----------
    field_image : FieldImage
    masks : FieldMasks
        Of the same field.
    config : DetectConfig
    memory_mb : float
        What the pixels in hand may take, MB; changes the speed and not the result.
    external : ExternalCatalogue, optional
        The survey's catalogue, needed for method "catalogue".
    previous : Detections, optional
        Of the field's generation before. An own detection within `config.match_radius` of one of its rows
        takes that row's `objid`, each at most once, the closest pairs first.

    Returns
    -------
    Detections
        No rows where nothing is found.

    Raises
    ------
    BadSurveyData
        If the external catalogue has duplicate ids, or positions that are not finite or off the image.
    """
    if config.method == "catalogue":
        if external is None:
            raise BadSurveyData(
                f'field {field_image.field.field_id}: detect.method is "catalogue" but the survey gives none; '
                'name a catalogue in the survey\'s TOML or use method "sep".'
            )
        return from_catalogue(field_image, external)
    if config.method == "grid":
        x, y = grid(field_image.shape, config.grid_step / field_image.pixel_scale)
        mags = np.full((len(x), len(field_image.bands)), np.nan, np.float32)
    else:
        x, y = find_sources(field_image, masks, config, memory_mb)
        mags = aperture_magnitudes(field_image, masks, x, y, config.aperture / 2 / field_image.pixel_scale, memory_mb)
    ra, dec = to_sky(field_image.wcs, x, y)
    index = spatial_index(ra, dec)
    objid = unique_ids(index)
    if previous is not None and config.method == "sep":
        objid = inherited_ids(objid, ra, dec, previous.objid, previous.ra, previous.dec, config.match_radius)
    names = np.full(len(x), None, object)
    return _sorted(Detections(objid, names, ra, dec, x, y, mags, index, field_image.bands))


def grid(shape: tuple[int, int], step: float) -> tuple[Float64, Float64]:
    """Centres of a grid that tiles a whole field.

    Parameters
    ----------
    shape : (ny, nx)
    step : float
        Largest distance of neighbours along x and along y, pixels. Steps below the stamp's size make stamps
        overlap.

    Returns
    -------
    x, y : float64 (n,)
        Whole pixels, row by row. The outermost centres lie within half a step of the image's border.
    """
    lines = []
    for length in shape:
        number = max(1, int(np.ceil(length / step)))
        lines.append(np.floor((np.arange(number) + 0.5) * length / number))
    y, x = np.meshgrid(lines[0], lines[1], indexing="ij")
    return x.ravel(), y.ravel()


def from_catalogue(field_image: FieldImage, external: ExternalCatalogue) -> Detections:
    """A survey's own catalogue as detections, with its ids; raises BadSurveyData for a broken one."""
    name = field_image.field.field_id
    objid = np.asarray(external.objid)
    if not np.issubdtype(objid.dtype, np.integer):
        raise BadSurveyData(
            f"field {name}: catalogue ids are {objid.dtype}, not integers; map source_id instead of objid."
        )
    objid = objid.astype(np.int64)
    ids, counts = np.unique(objid, return_counts=True)
    if (counts > 1).any():
        raise BadSurveyData(
            f"field {name}: catalogue has id {ids[counts > 1][0]} {counts.max()} times "
            f"({(counts > 1).sum()} ids are not unique); mend the catalogue or the mapping of objid."
        )
    ra, dec = np.asarray(external.ra, np.float64), np.asarray(external.dec, np.float64)
    x, y = to_pixel(field_image.wcs, ra, dec)
    ny, nx = field_image.shape
    with np.errstate(invalid="ignore"):
        outside = ~((x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5))
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise BadSurveyData(
            f"field {name}: {outside.sum()} of {len(objid)} catalogue positions are off the image, "
            f"first id {objid[first]} at ra {ra[first]:.6f}, dec {dec[first]:.6f}; "
            "mend the catalogue or the mapping of ra and dec."
        )
    given = getattr(external, "mags", None) or {}
    mags = np.full((len(objid), len(field_image.bands)), np.nan, np.float32)
    for column, band in enumerate(field_image.bands):
        if band in given:
            mags[:, column] = given[band]
    source_id = getattr(external, "source_id", None)
    names = np.full(len(objid), None, object)
    if source_id is not None:
        names[:] = source_id
    return _sorted(Detections(objid, names, ra, dec, x, y, mags, spatial_index(ra, dec), field_image.bands))


def _sorted(rows: Detections) -> Detections:
    order = np.lexsort((rows.objid, rows.healpix29))
    return replace(
        rows,
        objid=rows.objid[order],
        source_id=rows.source_id[order],
        ra=rows.ra[order],
        dec=rows.dec[order],
        x=rows.x[order],
        y=rows.y[order],
        mags=rows.mags[order],
        healpix29=rows.healpix29[order],
    )
