"""Parts of the sky, compared with astropy and with a loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import cdshealpix.nested
import numpy as np
import pyarrow as pa
import pytest
from astropy import units
from astropy.coordinates import Latitude, Longitude, SkyCoord
from mocpy import MOC

from pipeline.catalogue.query import query
from pipeline.catalogue.region import MOST_RANGES, Box, Cone, Polygon, Region, merged, read_footprint
from pipeline.errors import QueryError
from pipeline.io.tables import write_table

CENTRES = [
    (0.0, 0.0),
    (359.9999, 12.0),
    (0.0001, -45.0),
    (123.4, 90.0),
    (10.0, -90.0),
    (200.0, 89.99),
    (45.0, 41.8103),
    (180.0, 0.0),
    (-30.0, 5.0),
    (725.0, -5.0),
]
RADII = [0.0003, 0.02, 0.7, 12.0, 75.0]


def around(ra: float, dec: float, radius: float, n: int = 400) -> SkyCoord:
    """Positions inside and outside of a cone, many of them close to its edge."""
    rng = np.random.default_rng(3)
    centre = SkyCoord(ra % 360 * units.deg, dec * units.deg)
    reach = np.concatenate([rng.uniform(0, 2 * radius, n // 2), rng.normal(radius, 0.01 * radius, n // 2)])
    return centre.directional_offset_by(rng.uniform(0, 360, n) * units.deg, np.minimum(reach, 180) * units.deg)


@pytest.mark.parametrize(("ra", "dec"), CENTRES)
@pytest.mark.parametrize("radius", RADII)
def test_a_cone_in_a_query_holds_what_astropy_says(
    tmp_path: Path, make_table: Callable[..., pa.Table], ra: float, dec: float, radius: float
) -> None:
    sky = around(ra, dec, radius)
    table = make_table("F", range(len(sky)), sky.ra.deg, sky.dec.deg, np.linspace(0, 1, len(sky)))
    write_table(tmp_path / "t.parquet", table)
    distance = SkyCoord(ra % 360 * units.deg, dec * units.deg).separation(sky).deg
    certain = np.abs(distance - radius) > 1e-10
    wanted = {int(index) for index in np.flatnonzero((distance < radius) & certain)}
    found = set(query(tmp_path / "t.parquet", cone=(ra, dec, radius))["objid"].to_pylist())
    assert found & {int(index) for index in np.flatnonzero(certain)} == wanted
    assert 0 < len(found) < len(sky)


def test_the_ranges_of_a_cone_are_few_and_cover_it() -> None:
    for ra, dec in CENTRES:
        for radius in [0.0, 1e-7, *RADII[:-1]]:
            cone = Cone(ra, dec, radius)
            ranges = cone.ranges()
            assert ranges is not None
            assert 0 < len(ranges) <= MOST_RANGES
            assert (ranges[:, 0] < ranges[:, 1]).all()
            assert (ranges[1:, 0] > ranges[:-1, 1]).all()
            sky = around(ra, dec, max(radius, 1e-9))
            inside = cone.inside(sky.ra.deg, sky.dec.deg)
            cell = cdshealpix.nested.lonlat_to_healpix(Longitude(sky.ra), Latitude(sky.dec), 29).astype(np.int64)
            covered = np.any((cell[:, None] >= ranges[:, 0]) & (cell[:, None] < ranges[:, 1]), axis=1)
            assert covered[inside].all()


def test_the_ranges_of_a_small_cone_are_a_small_part_of_the_sky() -> None:
    ranges = Cone(10, 20, 0.1).ranges()
    assert ranges is not None
    assert (ranges[:, 1] - ranges[:, 0]).sum() / (12 * 4.0**29) < 1e-5


def test_a_cone_of_radius_zero_finds_the_position_itself_and_one_of_180_everything() -> None:
    assert Cone(10.0, 89.0, 0.0).inside(np.array([10.0, 10.1]), np.array([89.0, 89.0])).tolist() == [True, False]
    assert Cone(10.0, 20.0, 180.0).inside(np.array([190.0, 0.0]), np.array([-20.0, 90.0])).all()
    assert Cone(10.0, 20.0, 180.0).ranges() is None


def test_a_position_that_is_nan_is_nowhere() -> None:
    assert not Cone(0, 0, 180).inside(np.array([np.nan]), np.array([0.0])).any()


@pytest.mark.parametrize(
    ("cone", "message"),
    [
        ((math.nan, 0, 1), "ra nan"),
        ((0, 91, 1), "dec 91"),
        ((0, 0, -1), "radius -1"),
        ((0, 0, 181), "radius 181"),
        ((0, math.nan, 1), "dec nan"),
        ((0, 0, math.inf), "radius inf"),
    ],
)
def test_a_cone_that_is_none_is_refused(scan: Path, cone: tuple[float, float, float], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        query(scan, cone=cone)


def test_a_cone_goes_with_every_other_condition(scan: Path) -> None:
    assert query(scan, cone=(10.05, 0, 0.06))["objid"].to_pylist() == [-5, 2**53 + 1, 12, 12]
    assert query(scan, "score < 0.92", cone=(10.05, 0, 0.06), top=1, columns=["objid"])["objid"].to_pylist() == [
        2**53 + 1
    ]
    assert query(scan, cone=(10.05, 0, 0.06), without=["SEAM"], primary=True, columns=["score"]).num_rows == 2
    assert query(scan, cone=(180, 0, 0.01)).num_rows == 0


def test_ranges_are_joined_at_the_smallest_gaps() -> None:
    ranges = np.array([[0, 10], [11, 20], [40, 50], [52, 60], [10, 11]])
    assert merged(ranges, 9).tolist() == [[0, 20], [40, 50], [52, 60]]
    assert merged(ranges, 2).tolist() == [[0, 20], [40, 60]]
    assert merged(ranges, 1).tolist() == [[0, 60]]
    assert merged(np.empty((0, 2), np.int64), 4).shape == (0, 2)
    assert merged(np.array([[0, 100], [5, 10], [20, 30]]), 4).tolist() == [[0, 100]]


@pytest.mark.parametrize("form", ["fits", "json", "ascii"])
def test_a_moc_chooses_the_rows_that_mocpy_chooses(
    tmp_path: Path, make_table: Callable[..., pa.Table], form: str
) -> None:
    moc = MOC.from_cone(Longitude(0.1 * units.deg), Latitude(85 * units.deg), radius=3 * units.deg, max_depth=9)
    path = tmp_path / f"area.{'txt' if form == 'ascii' else form}"
    moc.save(str(path), format=form)
    sky = around(0.1, 85.0, 3.0)
    write_table(tmp_path / "t.parquet", make_table("F", range(len(sky)), sky.ra.deg, sky.dec.deg, np.zeros(len(sky))))
    wanted = set(np.flatnonzero(moc.contains_skycoords(sky)).tolist())
    assert set(query(tmp_path / "t.parquet", moc=path)["objid"].to_pylist()) == wanted
    assert 0 < len(wanted) < len(sky)
    both = query(tmp_path / "t.parquet", moc=path, cone=(0.1, 85.0, 1.0))["objid"].to_pylist()
    distance = SkyCoord(0.1 * units.deg, 85 * units.deg).separation(sky).deg
    assert set(both) == {index for index in wanted if distance[index] < 1.0}


def test_a_file_that_is_no_moc_is_named(tmp_path: Path) -> None:
    for name in ("a.fits", "a.json", "a.txt"):
        (tmp_path / name).write_text("not a moc {")
        with pytest.raises(QueryError, match=rf"{name} is not a \w+ MOC"):
            read_footprint(tmp_path / name)
    with pytest.raises(QueryError, match="does not exist"):
        read_footprint(tmp_path / "gone.fits")


def test_an_empty_moc_holds_nothing(scan: Path, tmp_path: Path) -> None:
    MOC.new_empty(10).save(str(tmp_path / "none.fits"), format="fits")
    assert query(scan, moc=tmp_path / "none.fits").num_rows == 0


def positions(number: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Positions all over the sky, and many near the places where coordinates are odd."""
    random = np.random.default_rng(8)
    ra = np.concatenate([random.uniform(0, 360, number), random.uniform(-2, 2, number) % 360])
    dec = np.concatenate([np.degrees(np.arcsin(random.uniform(-1, 1, number))), random.uniform(-2, 2, number)])
    return ra, np.where(random.random(2 * number) < 0.1, np.sign(dec) * (90 - random.random(2 * number)), dec)


def in_ranges(ranges: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    cell = cdshealpix.nested.lonlat_to_healpix(Longitude(ra * units.deg), Latitude(dec * units.deg), 29).astype(
        np.int64
    )
    return ((cell[:, None] >= ranges[None, :, 0]) & (cell[:, None] < ranges[None, :, 1])).any(axis=1)


def boxes_touched(region: Region, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """For each position, whether a small box with it at a random place would be looked at."""
    random = np.random.default_rng(1)
    low, high = (random.uniform(0, 0.5, (2, len(ra))) for _ in range(2))
    edges = [np.maximum(ra - low[0], 0), np.minimum(ra + high[0], 360), dec - low[1], dec + high[1]]
    return np.logical_and.reduce([box.touches(np.stack(edges, axis=1)) for box in region.boxes()])


@pytest.mark.parametrize("ra", [0.0, 0.3, 45.0, 359.8])
@pytest.mark.parametrize("dec", [-90.0, -60.0, 0.0, 41.0, 89.5])
@pytest.mark.parametrize("radius", [0.0, 0.05, 1.0, 30.0, 120.0])
def test_a_cones_box_holds_it(ra: float, dec: float, radius: float) -> None:
    random = np.random.default_rng(7)
    angle, far = random.uniform(0, 2 * np.pi, 5000), radius * np.sqrt(random.random(5000))
    around = SkyCoord(ra * units.deg, dec * units.deg).directional_offset_by(angle * units.rad, far * units.deg)
    region = Cone(ra, dec, radius)
    assert boxes_touched(region, around.ra.deg, around.dec.deg).all()
    everywhere = positions()
    if radius < 5 and abs(dec) < 80:
        assert boxes_touched(region, *everywhere).mean() < 0.25


@pytest.mark.parametrize(
    "box",
    [(359, 1, -1, 1), (-1, 1, -1, 1), (10, 30, 60, 90), (350, 20, -90, -88), (0, 360, -1, 1), (100, 280.5, 0, 3)],
)
def test_a_box_holds_what_lies_between_its_edges(box: tuple[float, float, float, float]) -> None:
    ra, dec = positions()
    region = Box(*box)
    west, east = box[0] % 360, box[1] % 360
    between = (ra >= west) & (ra <= east) if west <= east else (ra >= west) | (ra <= east)
    expected = (between | (box[:2] == (0, 360))) & (dec >= box[2]) & (dec <= box[3])
    assert expected.any()
    assert (region.inside(ra, dec) == expected).all()
    assert boxes_touched(region, ra, dec)[expected].all()
    ranges = region.ranges()
    if ranges is None:
        assert region.width > 180
    else:
        assert len(ranges) <= MOST_RANGES
        assert in_ranges(ranges, ra[expected], dec[expected]).all()


@pytest.mark.parametrize(
    "box",
    [(0, 60, 70.9, 90), (90, 150, -4.3, 90), (20, 183.7, 3.6, 80.65), (334, 456, 62.6, 90), (225, 352.6, 59.3, 81.1)],
)
def test_the_ranges_of_a_wide_box_beside_the_pole_cover_it(box: tuple[float, float, float, float]) -> None:
    random = np.random.default_rng(5)
    ra, dec = random.uniform(*box[:2], 20_000) % 360, random.uniform(*box[2:], 20_000)
    region = Box(*box)
    assert region.inside(ra, dec).all()
    ranges = region.ranges()
    assert ranges is not None
    assert in_ranges(ranges, ra, dec).all()


@pytest.mark.parametrize("box", [(10, 10, -90, 90), (0, 180, 0, 0), (0, 170, 80, 80.000001), (-1e-7, 1e-7, -90, 90)])
def test_a_strip_without_width_takes_few_cells(box: tuple[float, float, float, float]) -> None:
    """At the order that its width would ask for there would be some fifty million."""
    began = time.perf_counter()
    ranges = Box(*box).ranges()
    assert time.perf_counter() - began < 2
    assert ranges is not None
    assert len(ranges) <= MOST_RANGES


def test_a_boxs_edges_are_inside() -> None:
    assert Box(10, 20, -5, 5).inside(np.array([10.0, 20.0, 10.0]), np.array([5.0, -5.0, 5.1])).tolist() == [1, 1, 0]
    assert Box(0, 0, 0, 0).inside(np.array([0.0, 360.0, 1.0]), np.zeros(3)).tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    "corners",
    [
        [(359, -1), (1, -1), (1, 1), (359, 1)],
        [(0, 85), (120, 85), (240, 85)],
        [(10, -60), (50, -60), (30, -20)],
        [(0, 0), (2, 0), (2, 2), (1, 0.5), (0, 2)],
    ],
    ids=["across zero", "around the pole", "triangle", "hollow"],
)
def test_a_polygon_holds_what_summed_angles_say(corners: list[tuple[float, float]]) -> None:
    """A position is inside where the sides turn once around it: the sum of signed angles, a dumber way."""
    ra, dec = positions()
    region = Polygon(tuple(corners))
    got = region.inside(ra, dec)
    centre, points = SkyCoord(ra * units.deg, dec * units.deg), SkyCoord(corners * units.deg)
    angles = np.array([centre.position_angle(point).rad for point in points])
    turn = np.diff(np.concatenate([angles, angles[:1]]), axis=0)
    turned = np.abs(((turn + np.pi) % (2 * np.pi) - np.pi).sum(axis=0)) > np.pi
    middle = SkyCoord(points.cartesian.mean(), representation_type="unitspherical", frame="icrs")
    expected = turned & (centre.separation(middle) < 90 * units.deg)
    assert expected.sum() > 20
    assert (got != expected).sum() <= 2  # a position within rounding of a side
    ranges = region.ranges()
    assert ranges is not None
    assert in_ranges(ranges, ra[got], dec[got]).all()
    assert boxes_touched(region, ra, dec)[got].all()
    assert boxes_touched(region, ra, dec).mean() < 0.6


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"box": (0, 1, 5, 4)}, "box: dec 5.0 to 4.0 must rise"),
        ({"box": (float("nan"), 1, 0, 4)}, "box: ra nan"),
        ({"box": (0, 1, 5)}, "box: 3 numbers; give ra_min, ra_max, dec_min, dec_max in degrees"),
        ({"cone": (0, 1)}, "cone: 2 numbers; give ra, dec, radius in degrees"),
        ({"polygon": [(0, 0), (1, 1)]}, "polygon: 2 corners"),
        ({"polygon": [(0, 0), (1, 1), (360, 0), (1, 1)]}, "polygon: 2 different corners; three or more"),
        ({"polygon": [(5, 90), (90, 90), (200, 90)]}, "polygon: 1 different corners"),
        ({"polygon": [(0, 0), (1, 1), (2, 95)]}, "polygon: corners are pairs"),
        ({"polygon": [(0, 0), (1, 1), (2,)]}, "polygon: each corner is a pair"),
        ({"polygon": [(0, 0), (120, 0), (240, 0)]}, "polygon: its corners surround the whole sky"),
        ({"polygon": [(0, 1), (120, -80), (240, 1), (180, 80)]}, "polygon: it must lie well within a hemisphere"),
    ],
)
def test_a_box_or_polygon_that_is_none_is_refused(scan: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(QueryError, match=message):
        query(scan, **given)  # type: ignore[arg-type]


def test_regions_go_together(scan: Path) -> None:
    everything = query(scan, box=(9, 11, -1, 1))
    assert query(scan, box=(9, 11, -1, 1), cone=(10.05, 0, 0.01))["objid"].to_pylist() == [-5]
    assert set(query(scan, polygon=[(9, -1), (11, -1), (11, 1), (9, 1)])["objid"].to_pylist()) == set(
        everything["objid"].to_pylist()
    )
