"""Cross-match a catalogue with known lenses."""

from __future__ import annotations

from pipeline.catalogue.known import KnownLenses, nearest, read_known

__all__ = ["KnownLenses", "nearest", "read_known"]
