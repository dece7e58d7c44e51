"""Columns of lens parameters: in a scan's catalogue, in the table that `lensscan lensfit` writes, and of samples."""

from __future__ import annotations

import pyarrow as pa

from pipeline.schema import CANDIDATES, Column

_MASS = "of the mass, (1 - q) / (1 + q)"
_PARAMETERS = (
    ("theta_E", "arcsec", "phys.angSize", "effective Einstein radius, intermediate axis"),
    ("mass_e1", "", "src.ellipticity", f"ellipticity {_MASS} cos 2 phi, phi from the cutout's +x towards +y"),
    ("mass_e2", "", "src.ellipticity", f"ellipticity {_MASS} sin 2 phi"),
    ("shear_1", "", "stat.fit.param", "external reduced shear along the cutout's axes"),
    ("shear_2", "", "stat.fit.param", "external reduced shear along the cutout's diagonals"),
    ("source_x", "arcsec", "pos.cartesian.x", "source from the deflector, in the source plane, along the cutout's x"),
    ("source_y", "arcsec", "pos.cartesian.y", "source from the deflector, in the source plane, along the cutout's y"),
    ("lens_x", "arcsec", "pos.cartesian.x", "deflector from the cutout's centre, along its x"),
    ("lens_y", "arcsec", "pos.cartesian.y", "deflector from the cutout's centre, along its y"),
)
"""Name of a column, unit, UCD and meaning of each parameter, in the order of `pipeline.models.posterior.PARAMETERS`."""

_CATALOGUED = 7
"""Of them stand in the catalogue: where the deflector lies is told by the position."""

TRUSTED = Column(
    "theta_E_trusted",
    pa.bool_(),
    "",
    "meta.code.qual",
    "whether the network sees a lens, of such as it was trained on, or the fit has converged; null: no parameters",
    nullable=True,
)

METHOD = Column("method", pa.string(), "", "meta.id", "whose posterior: network, map or nuts")


def parameter_names() -> tuple[str, ...]:
    """Columns of the parameters, in the order of `pipeline.models.posterior.PARAMETERS`; their stds' end in `_std`."""
    return tuple(name for name, *_ in _PARAMETERS)


def parameter_columns() -> tuple[Column, ...]:
    """Mean and standard deviation of every parameter's posterior, and whether to trust it."""
    columns = []
    for name, unit, ucd, what in _PARAMETERS:
        about = f"{what}; mean of the posterior, null: no parameters"
        columns.append(Column(name, pa.float32(), unit, _words(ucd, "stat.fit.param"), about, nullable=True))
        spread = f"standard deviation of the posterior of {name}"
        columns.append(Column(f"{name}_std", pa.float32(), unit, _words("stat.stdev", ucd), spread, nullable=True))
    return (*columns, TRUSTED)


def catalogue_parameters() -> tuple[Column, ...]:
    """Those of `parameter_columns` that a scan's catalogue has where its ensemble gives lens parameters."""
    return (*parameter_columns()[: 2 * _CATALOGUED], TRUSTED)


def lensfit_columns() -> tuple[Column, ...]:
    """Columns of the table of `lensscan lensfit`: one row an object and method."""
    known = {column.name: column for column in CANDIDATES}
    return (*(known[name] for name in ("objid", "field_id", "ra", "dec", "score")), METHOD, *parameter_columns())


def sample_columns() -> tuple[Column, ...]:
    """Columns of its samples: the same number of values in every list of a row; the k-th of each belong together."""
    known = {column.name: column for column in CANDIDATES}
    lists = (
        Column(name, pa.list_(pa.float32()), unit, _words(ucd, "stat.fit.param"), f"{what}; samples of the posterior")
        for name, unit, ucd, what in _PARAMETERS
    )
    return (known["objid"], known["field_id"], METHOD, *lists)


def _words(*words: str) -> str:
    """Words of a UCD, each once."""
    return ";".join(dict.fromkeys(words))
