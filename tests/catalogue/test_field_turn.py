"""Which way a field is turned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.wcs import WCS

from pipeline.catalogue import field_turn
from pipeline.catalogue.field_turn import field_turns, half_turn, turn


def sky_of(angle: float, x, y, *, ra: float = 0.02, dec: float = -60.0, mirrored: bool = True):
    """Positions of pixels of a tangential grid whose columns lie `angle` from north through east."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [ra, dec], [500, 1000]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    # Columns of the matrix: where x and y point, as (east, north).
    wcs.wcs.cd = 1e-4 * np.array([[-c if mirrored else c, s], [s if mirrored else -s, c]])
    return wcs.all_pix2world(x, y, 0)


@pytest.mark.parametrize("angle", [0.0, 17.0, 90.0, -45.0, 179.0])
@pytest.mark.parametrize("mirrored", [True, False])
def test_a_turn_is_that_of_the_grid_also_across_ra_0(angle: float, mirrored: bool) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 1000, 50), rng.uniform(0, 2000, 50)
    ra, dec = sky_of(angle, x, y, mirrored=mirrored)
    found = turn(ra, dec, x, y)
    assert abs(half_turn(found - angle)) < 0.3


def test_too_few_or_points_on_a_line_tell_nothing() -> None:
    assert np.isnan(turn(*np.zeros((4, 2))))
    line = np.arange(10.0)
    ra, dec = sky_of(0.0, line, line)
    assert np.isnan(turn(ra, dec, line, line))
    assert np.isnan(turn(*np.zeros((4, 10))))


def written(path: Path, angle: float) -> Path:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 1000, 30), rng.uniform(0, 2000, 30)
    ra, dec = sky_of(angle, x, y)
    pq.write_table(pa.table({"ra": ra, "dec": dec, "x": x, "y": y}), path)
    return path


def test_many_fields_take_the_turn_of_a_sample_that_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_turn, "MOST_READ", 3)
    alike = [(number, written(tmp_path / f"{number}.parquet", 89.5 if number % 2 else -89.5)) for number in range(8)]
    turns = field_turns(alike, 9, tmp_path)
    assert np.abs(half_turn(turns - 90)).max() < 1
    apart = [(number, written(tmp_path / f"{number}.parquet", 10.0 * number)) for number in range(8)]
    assert np.isfinite(field_turns(apart, 9, tmp_path)).sum() == 3


def test_a_table_that_can_not_be_read_leaves_its_field_unknown_where_others_differ(tmp_path: Path) -> None:
    (tmp_path / "b.parquet").write_bytes(b"no")
    turns = field_turns(
        [
            (0, tmp_path / "a.parquet"),
            (1, tmp_path / "b.parquet"),
            (2, written(tmp_path / "c", 5)),
            (3, written(tmp_path / "d", 60)),
        ],
        4,
        tmp_path,
    )
    assert np.isnan(turns[:2]).all()
    assert turns[2] == pytest.approx(5, abs=0.3)
