"""Rows of a synthetic survey's truth tables."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.geometry import depth, to_sky
from pipeline.sims.artefacts.kinds import BadColumn, CosmicRay, Gap, Ghost, Seam, Trail
from pipeline.sims.artefacts.star import BrightStar
from pipeline.sims.artefacts.window import Artefact
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.sky.fields import Field, Sky
from pipeline.sims.sky.files import MASS_COLUMNS, field_wcs


def lens_rows(sky: Sky, fields: list[Field]) -> list[dict[str, Any]]:
    """Rows of `files.LENS_SCHEMA`, one a planted lens, in the field that it lies deepest in."""
    wcs = field_wcs(sky.config, (0, 0), sky.plane)
    rows = []
    for number, lens in enumerate(sky.lenses):
        ra, dec = (float(value) for value in to_sky(wcs, lens.x, lens.y))
        home = max(fields, key=lambda field: float(depth(field.geometry, ra, dec)))
        rows.append(
            {
                "lens_id": number,
                "field_id": home.field_id,
                "ra": ra,
                "dec": dec,
                "x": lens.x - home.origin[0],
                "y": lens.y - home.origin[1],
                "theta_E": lens.theta_E,
                "arc_snr": lens.arc_snr,
                "arc_share": lens.arc_share,
                "lens_mag": lens.lens_mag,
                "source_mag": lens.source_mag,
                "red_source": lens.red_source,
                "clear": lens.clear,
                **{name: getattr(lens.mass, name) for name in MASS_COLUMNS},
            }
        )
    return rows


def artefact_row(config: SkyConfig, field: Field, artefact: Artefact) -> dict[str, Any]:
    """A row of `files.ARTEFACT_SCHEMA`."""
    every = range(len(config.bands))
    match artefact:
        case Gap():
            x, y = (artefact.x_low + artefact.x_high) / 2, (artefact.y_low + artefact.y_high) / 2
            sides = (artefact.x_high - artefact.x_low) / 2, (artefact.y_high - artefact.y_low) / 2
            row = _row("gap", artefact.bands, x, y, 0.0, *sides)
        case BrightStar(x=x, y=y):
            row = _row("star", every, x, y, artefact.spike_angle, artefact.bleed_length, artefact.halo_radius)
        case Trail(x=x, y=y):
            length = min(artefact.half_length, 2.0 * config.layout.size)
            row = _row("trail", artefact.bands, x, y, artefact.angle, length, artefact.width / 2)
        case CosmicRay(x=x, y=y):
            row = _row("cosmic_ray", (artefact.band,), x, y, artefact.angle, artefact.length / 2, 0.5)
        case BadColumn(x=column):
            middle, half = (artefact.y_low + artefact.y_high) / 2, (artefact.y_high - artefact.y_low) / 2
            row = _row("bad_column", (artefact.band,), column, middle, np.pi / 2, half, 0.5)
        case Seam(x=x, y=y):
            kind = "seam" if artefact.noise > 1 else "step"
            row = _row(kind, artefact.bands, x, y, artefact.angle, 2.0 * config.layout.size, artefact.width / 2)
        case Ghost(x=x, y=y):
            row = _row("ghost", every, x, y, 0.0, artefact.outer, artefact.outer)
        case _:
            raise TypeError(f"no row for {type(artefact).__name__}")
    ra, dec = to_sky(field.geometry.wcs, row["x"], row["y"])
    row["bands"] = "".join(config.bands[band] for band in row["bands"])
    return {**row, "field_id": field.field_id, "ra": float(ra), "dec": float(dec)}


def _row(
    kind: str, bands: Any, x: float, y: float, angle: float, half_length: float, half_width: float
) -> dict[str, Any]:
    extent = {"angle": float(np.rad2deg(angle)), "half_length": float(half_length), "half_width": float(half_width)}
    return {"kind": kind, "bands": tuple(bands), "x": float(x), "y": float(y), **extent}
