"""What two scans were told of one field, compared: fingerprints, settings, weights, as their manifests have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.io.products import Manifest
from pipeline.provenance import STAGES
from pipeline.scan_config import CandidatesConfig

_SECTIONS: Mapping[str, tuple[str, ...]] = {
    "masks": ("masks", "bands"),
    "detect": ("detect",),
    "cutouts": ("cutouts", "bands"),
    "score": ("score", "threads", "ensemble"),
    "candidates": ("vet", "candidates", "ensemble"),
}
"""Parts of a scan's config that a stage reads, as its provenance has them."""

Value = Any


@dataclass(frozen=True)
class FieldChanges:
    """How the making of one field differs between two scans, A and B.

    Attributes
    ----------
    known : bool
        Whether both have provenance; without, nothing below says anything.
    same : mapping of str to bool
        stage -> whether both products carry one fingerprint, and so are the same.
    settings : mapping of str to tuple of str
        stage -> what its settings and inputs differ in, as a person reads it.
    other_weights : frozenset of str
        Packages that both have, with other weights.
    prior, floor : (float, float)
        Of A and B.
    """

    known: bool
    same: Mapping[str, bool]
    settings: Mapping[str, tuple[str, ...]]
    other_weights: frozenset[str]
    prior: tuple[float, float]
    floor: tuple[float, float]

    def told(self) -> tuple[str, ...]:
        """Every difference once, in order of the stages."""
        texts: dict[str, None] = {}
        for stage in STAGES:
            texts.update(dict.fromkeys(self.settings.get(stage, ())))
        return tuple(texts)

    def reads_other(self, stage: str, *words: str) -> bool:
        """Whether a stage's settings differ in a section, or in one of its keys."""
        return any(text.startswith(words) for text in self.settings.get(stage, ()))


def field_changes(first: Mapping[str, Manifest], second: Mapping[str, Manifest]) -> FieldChanges:
    """Compare the live products of a field in two scans.

    Parameters
    ----------
    first, second : mapping of str to Manifest
        By stage; empty for exported rows, of which nothing is known.
    """
    stages = [stage for stage in STAGES if stage in first and stage in second]
    defaults = CandidatesConfig()
    if "candidates" not in stages:
        unknown = (defaults.prior, defaults.prior), (defaults.floor, defaults.floor)
        return FieldChanges(False, {}, {}, frozenset(), *unknown)
    same = {stage: first[stage].fingerprint == second[stage].fingerprint for stage in stages}
    settings: dict[str, tuple[str, ...]] = {}
    before = True
    for stage in stages:
        if not same[stage]:
            settings[stage] = _settings(stage, first[stage].provenance, second[stage].provenance, upstream_same=before)
        before = same[stage]
    packages = [
        manifests.get("score", manifests["candidates"]).provenance.get("packages", {}) for manifests in (first, second)
    ]
    other = frozenset(name for name in packages[0] if name in packages[1] and packages[0][name] != packages[1][name])
    chosen = [
        manifests["candidates"].provenance.get("config", {}).get("candidates", {}) for manifests in (first, second)
    ]
    prior, floor = (
        (float(chosen[0].get(key, default)), float(chosen[1].get(key, default)))
        for key, default in (("prior", defaults.prior), ("floor", defaults.floor))
    )
    return FieldChanges(True, same, settings, other, prior, floor)


def _settings(
    stage: str, first: Mapping[str, Any], second: Mapping[str, Any], *, upstream_same: bool
) -> tuple[str, ...]:
    """Differences that a stage's provenance tells; what its fingerprint alone tells, by exclusion."""
    texts: list[str] = []
    configs = first.get("config", {}), second.get("config", {})
    for section in _SECTIONS[stage]:
        texts += _differences(section, configs[0].get(section), configs[1].get(section))
    if stage == "masks" and first.get("survey") != second.get("survey"):
        texts += _differences("survey", first.get("survey"), second.get("survey"))
    if stage == "score":
        packages = first.get("packages", {}), second.get("packages", {})
        for name in sorted({*packages[0], *packages[1]}):
            if name not in packages[1]:
                texts.append(f"package {name} only in A")
            elif name not in packages[0]:
                texts.append(f"package {name} only in B")
            elif packages[0][name] != packages[1][name]:
                texts.append(f"package {name}: other weights")
    if not texts and upstream_same:
        software = first.get("software", {}), second.get("software", {})
        texts.append(_BY_EXCLUSION[stage])
        if software[0] != software[1]:
            texts.append(f"{stage}: other software ({_release(software[0])} → {_release(software[1])})")
    return tuple(texts)


_BY_EXCLUSION: Mapping[str, str] = {
    "masks": "masks: other input files",
    "detect": "detect: other catalogue files",
    "cutouts": "cutouts: centre radius of vetting",
    "score": "score: other device, or ensemble file of the same name",
    "candidates": "candidates: scan_id, neighbouring fields, or ensemble file of the same name",
}
"""What is left where no setting differs, but the fingerprint does."""


def _differences(name: str, first: Value, second: Value) -> list[str]:
    """Keys below a section whose values differ; a value that is not said is a default."""
    if first == second:
        return []
    left, right = ({} if value is None else value for value in (first, second))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        keys = sorted({*left, *right})
        return [text for key in keys for text in _differences(f"{name}.{key}", left.get(key), right.get(key))]
    return [f"{name}: {_written(first)} → {_written(second)}"]


def _written(value: Value) -> str:
    return "default" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _release(software: Mapping[str, Any]) -> str:
    return f"{software.get('version', '?')} {str(software.get('revision', ''))[:8]}".strip()
