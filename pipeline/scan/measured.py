"""What a second look at a field's candidates adds to their catalogue rows: maps and lens parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.wcs import WCS

from pipeline.flags import VetFlag
from pipeline.geometry import to_sky
from pipeline.models.ensemble import Ensemble
from pipeline.models.fitter_config import FitterConfig
from pipeline.scan.cutouts import nearest_pixel
from pipeline.scan.maps import MapMeasures, joined_light, measure_maps
from pipeline.scan.parameters import Fitted, fit_cutouts
from pipeline.scan.rows import MapColumns, ParameterColumns, ScoredRows
from pipeline.scan.score import choose_device
from pipeline.scan_config import CandidatesConfig, ScanConfig, VetConfig

Int64 = npt.NDArray[np.int64]
Planes = tuple[npt.NDArray[Any], npt.NDArray[Any] | None, npt.NDArray[Any] | None]
"""Image, ivar and mask of some cutouts, (n, band, y, x) each."""


def measure_candidates(
    scored: ScoredRows,
    cutouts: Iterable[tuple[int, Planes]],
    *,
    ensemble: Ensemble,
    bands: tuple[str, ...],
    pixel_scale: float,
    size: int,
    wcs: WCS,
    config: ScanConfig,
) -> ScoredRows:
    """A field's rows with maps and lens parameters of its candidates, where the ensemble has networks for them.

    Strategy: what a candidate gets hangs on its shard alone, of which all candidates are looked at in one go; a shard
    of cutouts is in memory at a time.

    Parameters
    ----------
    scored : ScoredRows
        n rows.
    cutouts : iterable of (int, Planes)
        Every shard of the field that holds a candidate, in order: the row of its first cutout, and its planes.
    ensemble : Ensemble
        With a mapper, a fitter or both; without either the rows are answered as they are.
    bands : tuple of str
        Of the cutouts.
    pixel_scale : float, arcsec
    size : int
        Side of a cutout, pixels.
    wcs : astropy.wcs.WCS
        Of the field.
    config : ScanConfig

    Returns
    -------
    ScoredRows
        With `maps` and `parameters` known for candidates, and ARTEFACT_LIKELY among the vet flags.
    """
    if not ensemble.measurers():
        return scored
    device = str(choose_device(config.score.device))
    wanted = np.flatnonzero(scored.is_candidate)
    wanted = wanted[np.argsort(scored.row[wanted], kind="stable")]
    drawn: list[MapMeasures] = []
    fitted: list[Fitted] = []
    for first, planes in cutouts:
        mine = scored.row[wanted] - first
        mine = mine[(mine >= 0) & (mine < len(planes[0]))]
        image, ivar, mask = planes[0][mine], *(None if plane is None else plane[mine] for plane in planes[1:])
        if ensemble.mapper is not None:
            drawn.append(
                measure_maps(image, ivar, mask, pixel_scale=pixel_scale, bands=bands, ensemble=ensemble, device=device)
            )
        if ensemble.fitter is not None:
            fitted.append(
                fit_cutouts(
                    image,
                    ivar,
                    mask,
                    pixel_scale=pixel_scale,
                    bands=bands,
                    fitter=ensemble.fitter,
                    config=config.score,
                    device=device,
                )
            )
    if drawn:
        measures = joined_measures(drawn)
        scored = with_measures(scored, wanted, measures, ensemble, size, wcs, config.vet, config.candidates)
    if ensemble.fitter is not None and fitted:
        scored = with_parameters(scored, wanted, fitted, config.vet, ensemble.fitter.config)
    return scored


def shards_with_candidates(scored: ScoredRows) -> list[int]:
    """Numbers of the shards that hold a candidate, ascending."""
    return sorted({int(number) for number in scored.row[scored.is_candidate] // scored.origin.shard})


def joined_measures(parts: Iterable[MapMeasures]) -> MapMeasures:
    """The measures of consecutive shards as one."""
    given = list(parts)
    return MapMeasures(
        joined_light([part.lens for part in given]), np.concatenate([part.artefact_overlap for part in given])
    )


def with_measures(
    scored: ScoredRows,
    rows: Int64,
    measures: MapMeasures,
    ensemble: Ensemble,
    size: int,
    wcs: WCS,
    vet: VetConfig,
    candidates: CandidatesConfig,
) -> ScoredRows:
    """Rows of a field with what was measured on the maps of some of them; parameters as `measure_candidates`."""
    columns = MapColumns.unknown(len(scored.score))
    if ensemble.mapper is not None:
        columns.joint_score[rows] = ensemble.mapper.joint_score(
            scored.score[rows], candidates.prior, measures.lens.features()
        )
    columns.artefact_overlap[rows], columns.arc_area[rows] = measures.artefact_overlap, measures.lens.area
    lit = np.isfinite(measures.lens.x)
    corner = [nearest_pixel(axis[rows]) - size // 2 for axis in (scored.detections.x, scored.detections.y)]
    ra, dec = to_sky(wcs, (corner[0] + measures.lens.x)[lit], (corner[1] + measures.lens.y)[lit])
    columns.lens_ra[rows[lit]], columns.lens_dec[rows[lit]] = ra, dec
    flags = scored.vet_flags.copy()
    with np.errstate(invalid="ignore"):
        covered = rows[measures.artefact_overlap >= np.float32(vet.artefact_overlap)]
    flags[covered] |= np.uint32(VetFlag.ARTEFACT_LIKELY)
    return replace(scored, maps=columns, vet_flags=flags)


def with_parameters(
    scored: ScoredRows, rows: Int64, parts: Iterable[Fitted], vet: VetConfig, parameters: FitterConfig
) -> ScoredRows:
    """Rows of a field with the lens parameters of some of them, those of consecutive shards."""
    columns = ParameterColumns.unknown(len(scored.score))
    fits = list(parts)
    columns.mean[rows] = np.concatenate([fit.posterior.mean for fit in fits])
    columns.std[rows] = np.concatenate([fit.posterior.std for fit in fits])
    columns.trusted[rows] = np.concatenate([fit.trusted(vet.unfamiliar_share, parameters) for fit in fits])
    return replace(scored, parameters=columns)
