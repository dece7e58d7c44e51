"""Queries of a catalogue against plain DuckDB on the same files and LSDB on the same rows.

    PYTHONPATH=. python tests/benchmarks/bench_queries.py [--rows 2000000] [--fields 400] [--side 0.25] [--folder DIR]
        [--json FILE]
    PYTHONPATH=. python tests/benchmarks/bench_queries.py --rows 100000000 --fields 10000 --side 0.7 --folder DIR

Rows with random scores lie evenly on a patch of sky of as many square fields; they are written as a scan writes them,
with the best rows kept together as a scan's end does, and published as a HATS catalogue, which LSDB and we are asked,
too. Each query is asked once to warm up, then seven times; the median counts, of what takes longer than 20 s the first
time, and answers must have as many rows from each. DuckDB gets the files by name and no hint of what lies where.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import lsdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from cdshealpix.nested import lonlat_to_healpix

from pipeline.catalogue.best_index import write_best_index
from pipeline.catalogue.publish import publish
from pipeline.catalogue.query import query
from pipeline.io import ownership, products
from pipeline.io.tables import build_table, write_table
from pipeline.schema import scores_columns

CENTRE = (150.0, 2.0)
RADIUS = 0.1
TOP = 1000
ASKED = 7
LONG_MS = 20_000
MEMBERS, BANDS = ("one", "two", "three", "four", "five"), ("g", "r", "i")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--fields", type=int, default=400)
    parser.add_argument("--side", type=float, default=0.25, help="of a field, in degrees")
    parser.add_argument("--folder", type=Path, default=None, help="keeps the catalogues here for another run")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    output, hats = folder / "scan", folder / "hats"
    if len(products.listing(output)) < options.fields:
        write_scan(output, options.rows, options.fields, options.side)
    seconds = {"index": timed(lambda: write_best_index(output)), "publish": 0.0}
    if not hats.exists():
        seconds["publish"] = timed(lambda: publish(output, hats))
    figures = {
        "rows": options.rows,
        "fields": options.fields,
        "seconds": seconds,
        "queries_ms": measure(output, hats),
    }
    print(json.dumps(seconds))
    for name, row in figures["queries_ms"].items():
        print(f"{name:10}" + "".join(f"{who:>12} {ms:9.1f} ms" for who, ms in row.items()))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.folder is None:
        shutil.rmtree(folder)


def measure(output: Path, hats: Path) -> dict[str, dict[str, float]]:
    """Milliseconds of each query by each."""
    files = str(output / "candidates" / "*" / "*" / "candidates.parquet")
    field = sorted(products.listing(output))[0]
    plain = duckdb.connect()
    ra, dec = CENTRE
    cone = (
        "2 * asin(sqrt(pow(sin(radians(dec - $dec) / 2), 2) + cos(radians($dec)) * cos(radians(dec)) "
        "* pow(sin(radians(ra - $ra) / 2), 2))) <= radians($radius)"
    )

    def by_duckdb(rest: str, **values: Any) -> pa.Table:
        return plain.execute(f"SELECT * FROM read_parquet('{files}') {rest}", values).to_arrow_table()

    def best(part: pd.DataFrame) -> pd.DataFrame:
        return part.nlargest(TOP, "score")

    def catalogue() -> Any:
        return lsdb.open_catalog(hats)

    asked: dict[str, dict[str, Callable[[], Any]]] = {
        "cone": {
            "ours": lambda: query(output, cone=(ra, dec, RADIUS)),
            "ours, HATS": lambda: query(hats, cone=(ra, dec, RADIUS)),
            "duckdb": lambda: by_duckdb(f"WHERE {cone}", ra=ra, dec=dec, radius=RADIUS),
            "lsdb": lambda: catalogue().cone_search(ra, dec, RADIUS * 3600).compute(),
        },
        "top": {
            "ours": lambda: query(output, top=TOP),
            "ours, HATS": lambda: query(hats, top=TOP),
            "duckdb": lambda: by_duckdb(f"ORDER BY score DESC, field_id, objid LIMIT {TOP}"),
            "lsdb": lambda: best(catalogue().map_partitions(best).compute()),
        },
        "field": {
            "ours": lambda: query(output, field=field),
            "ours, HATS": lambda: query(hats, field=field),
            "duckdb": lambda: by_duckdb("WHERE field_id = $field", field=field),
            "lsdb": lambda: catalogue().query(f"field_id == '{field}'").compute(),
        },
    }
    figures: dict[str, dict[str, float]] = {}
    for name, ways in asked.items():
        answers = {who: asked_once(call) for who, call in ways.items()}
        assert len({rows for rows, _ in answers.values()}) == 1, f"{name}: {answers}"
        figures[name] = {who: first if first > LONG_MS else median_ms(ways[who]) for who, (_, first) in answers.items()}
    return figures


def asked_once(call: Callable[[], Any]) -> tuple[int, float]:
    """Rows of the answer, and milliseconds."""
    began = time.perf_counter()
    rows = len(call())
    return rows, 1e3 * (time.perf_counter() - began)


def median_ms(call: Callable[[], Any]) -> float:
    """Of several calls."""
    return statistics.median(asked_once(call)[1] for _ in range(ASKED))


def timed(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def write_scan(output: Path, rows: int, fields: int, degrees: float) -> None:
    """Rows as a scan's output; what is there already stays."""
    ownership.claim(output, "bench", "many", "1")
    side = int(np.ceil(np.sqrt(fields)))
    for number in range(fields):
        field_id = f"f{number:05d}"
        if products.field_listing(output, field_id):
            continue
        random = np.random.default_rng([5, number])
        corner = np.array([number % side, number // side]) - side / 2
        ra, dec = (CENTRE[axis] + degrees * (corner[axis] + random.random(rows // fields)) for axis in range(2))
        table = candidates(random, field_id, ra, dec)
        generation = products.new_generation(output, "candidates", field_id, "0" * 64)
        place = output / products.generation_place("candidates", field_id, generation)
        write_table(place / "candidates.parquet", table)
        products.publish(
            output,
            field_id=field_id,
            stage="candidates",
            fingerprint="0" * 64,
            generation=generation,
            rows=len(table),
            provenance={},
        )


def candidates(
    random: np.random.Generator, field_id: str, ra: npt.NDArray[np.float64], dec: npt.NDArray[np.float64]
) -> pa.Table:
    """A field's table, sorted as a scan sorts it."""
    healpix = lonlat_to_healpix(Longitude(ra, u.deg), Latitude(dec, u.deg), 29).astype(np.int64)
    order = np.argsort(healpix)
    number = len(ra)
    texts = {"survey": "many", "release": "1", "field_id": field_id, "scan_id": "bench"}
    values: dict[str, Any] = {}
    for column in scores_columns(MEMBERS, BANDS):
        if column.name in texts:
            values[column.name] = [texts[column.name]] * number
        elif column.name == "shard":
            values[column.name] = [f"{field_id}/0"] * number
        elif column.name in ("objid", "_healpix_29"):
            values[column.name] = healpix[order]
        elif column.name in ("ra", "dec"):
            values[column.name] = (ra if column.name == "ra" else dec)[order]
        elif pa.types.is_boolean(column.type):
            values[column.name] = np.ones(number, bool)
        elif pa.types.is_integer(column.type):
            values[column.name] = np.arange(number, dtype=column.type.to_pandas_dtype())
        else:
            values[column.name] = random.random(number).astype(column.type.to_pandas_dtype())
    return build_table(scores_columns(MEMBERS, BANDS), values)


if __name__ == "__main__":
    main()
