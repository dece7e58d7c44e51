"""Scores of one scan against those of another, as SVG: all rows as a density, the largest differences as dots."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.catalogue.chart import INKS, Chart, log_odds

MOST_DOTS = 2000
"""Dots of one kind; the largest changes are shown."""

_RANGE = (1e-7, 0.999999)
_CELLS = 280
"""Cells over the whole range along either axis, about twenty a factor of ten in odds."""

Floats = npt.NDArray[np.float64]

_KINDS = (("moved", INKS[1]), ("reflagged", INKS[5]), ("new", INKS[3]), ("gone", INKS[2]))


class ScorePlot:
    """Gathers a plot field by field, in bounded memory: `look` and `keep` are what `scan_diff` calls."""

    def __init__(self) -> None:
        self._edges = np.linspace(float(log_odds(_RANGE[0])), float(log_odds(_RANGE[1])), _CELLS + 1)
        self._counts = np.zeros((_CELLS, _CELLS), np.int64)
        self._dots: dict[str, Floats] = {kind: np.empty((0, 2)) for kind, _ in _KINDS}
        self._totals = dict.fromkeys(self._dots, 0)

    def look(self, first: Floats, second: Floats) -> None:
        """Count rows by their scores in A and B; those without either are in the dots alone."""
        edge = np.nextafter(self._edges[[0, -1]], 0)
        a, b = (np.clip(log_odds(score), *edge) for score in (first, second))
        there = np.isfinite(a) & np.isfinite(b)
        self._counts += np.histogram2d(a[there], b[there], bins=(self._edges, self._edges))[0].astype(np.int64)

    def keep(self, table: pa.Table) -> None:
        """Remember the differences that moved most."""
        scores = np.stack([table[name].to_numpy().astype(np.float64) for name in ("score_a", "score_b")], axis=1)
        kinds = np.array(table["kind"].to_pylist(), object)
        for kind in self._dots:
            mine = scores[kinds == kind]
            self._totals[kind] += len(mine)
            every = np.concatenate([self._dots[kind], mine])
            change = np.nan_to_num(np.abs(every[:, 1] - every[:, 0]), nan=2.0)
            self._dots[kind] = every[np.argsort(-change, kind="stable")[:MOST_DOTS]]

    def svg(self, first: str, second: str) -> bytes:
        """The plot; the scans are called by these names."""
        span = self._span()
        chart = Chart(
            "Scores of two scans", f"score in A: {first}", f"score in B: {second}", span, span, margin=30, height=640
        )
        inside = (self._edges >= log_odds(span[0])) & (self._edges <= log_odds(span[1]))
        chosen = np.flatnonzero(inside)
        if len(chosen) > 1:
            edges = 1 / (1 + 10 ** -self._edges[chosen])
            counts = self._counts[chosen[0] : chosen[-1], chosen[0] : chosen[-1]]
            chart.cells(edges, edges, counts, "#667079", f"all {self._counts.sum():,} with both")
        chart.line(span, span, "#98a1a9", dash="4 4")
        told = []
        for kind, ink in _KINDS:
            if self._totals[kind]:
                across, up = self._dots[kind].T
                some = f" ({len(across):,} shown)" if len(across) < self._totals[kind] else ""
                chart.points(across, up, ink, f"{kind} {self._totals[kind]:,}{some}")
                told.append(f"{self._totals[kind]} {kind}")
        return chart.svg("; ".join(told) or "no difference")

    def _span(self) -> tuple[float, float]:
        """The scores that there are, and a little around them."""
        along = np.flatnonzero(self._counts.sum(axis=0) + self._counts.sum(axis=1))
        dots = log_odds(np.concatenate([*(dots.ravel() for dots in self._dots.values())]))
        values = np.r_[self._edges[along], self._edges[along + 1], dots[np.isfinite(dots)]]
        if not len(values):
            return 1e-4, 0.9999
        low, high = float(values.min()) - 0.2, float(values.max()) + 0.2
        return max(_RANGE[0], 1 / (1 + 10**-low)), min(_RANGE[1], 1 / (1 + 10**-high))
