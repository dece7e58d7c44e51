"""The fingerprints that a scan wants of a field's products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.field import Field
from pipeline.io.footprints import Identities
from pipeline.models.described import DescribedPackage
from pipeline.models.described_ensemble import DescribedEnsemble
from pipeline.provenance import STAGES, fingerprint, stage_fingerprint
from pipeline.scan_config import ScanConfig
from pipeline.surveys import Survey


def stages_of(config: ScanConfig) -> tuple[str, ...]:
    """The stages that a scan runs: without an ensemble it stops after the cutouts."""
    return STAGES if config.ensemble is not None else STAGES[:3]


def pixel_files(config: ScanConfig, field: Field) -> list[str]:
    """The files that the bands of a scan are read from, sorted; other bands and catalogues are not among them."""
    return sorted({path for band in config.bands for path in field.planes.get(band, {}).values()})


_NOT_SCORES = {"device", "cascade", "backend", "embeddings", "embeddings_of"}
"""Keys of `[score]` that no logit depends on, or that count by themselves."""


class Wanted:
    """What the stages of one scan read beside a field's own files, hashed once; `of` a field is then quick.

    Parameters
    ----------
    config : ScanConfig
    survey : Survey
    ensemble : DescribedEnsemble or None
    device : str
        Kind of device that scores.
    """

    def __init__(self, config: ScanConfig, survey: Survey, ensemble: DescribedEnsemble | None, device: str) -> None:
        self._config = config
        self._survey = survey
        self._scores = ensemble is not None
        self._survey_hash = fingerprint(survey.provenance())
        self._catalogue_hash = fingerprint(survey.catalogue_provenance())
        self._reads = {
            "masks": fingerprint({"masks": config.masks.model_dump(mode="json"), "bands": config.bands}),
            "detect": fingerprint(config.detect.model_dump(mode="json")),
            "cutouts": fingerprint(
                [config.cutouts.model_dump(mode="json", exclude={"keep"}), config.vet.centre_radius]
            ),
        }
        if ensemble is not None:
            score = config.score.model_dump(mode="json", exclude=_NOT_SCORES)
            asked = ensemble.fingerprint(cascade=config.score.cascade)
            maps = [] if ensemble.mapper is None else [ensemble.mapper.fingerprint(), device]
            fits = [] if ensemble.fitter is None else [{"parameters": [ensemble.fitter.fingerprint(), device]}]
            vet, candidates = config.vet.model_dump(mode="json"), config.candidates.model_dump(mode="json")
            self._reads["score"] = fingerprint([score, config.threads, asked, device, config.score.backend])
            keep = config.cutouts.keep
            embedder = ensemble.embedder(config.score.embeddings)
            embedded = [] if embedder is None else [_embeddings(ensemble.members[embedder], config.score.embeddings_of)]
            self._reads["candidates"] = fingerprint(
                [config.scan_id, vet, candidates, ensemble.calibration_fingerprint(), maps, keep, *embedded, *fits]
            )

    def of(self, field: Field, near: Sequence[str]) -> dict[str, str]:
        """The fingerprint of every stage of a field, each resting on the one before.

        Parameters
        ----------
        field : Field
            Its files are looked at by size, and time or ETag.
        near : sequence of str
            Tokens of the fields beside it, in order of their ids: they decide which objects it owns.
        """
        files = [self._survey.identity(path) for path in pixel_files(self._config, field)]
        own: dict[str, Any] = {
            "masks": [self._survey_hash, files, [field.survey, field.release, field.field_id]],
            "detect": [],
            "cutouts": [],
            "score": [],
            "candidates": list(near),
        }
        if self._config.detect.method == "catalogue":
            catalogue = [self._survey.identity(path) for path in self._survey.catalogue_files(field)]
            own["detect"] = [self._catalogue_hash, catalogue]
        wanted: dict[str, str] = {}
        before = ""
        for stage in stages_of(self._config):
            before = wanted[stage] = stage_fingerprint(stage, self._reads[stage], [before, own[stage]])
        return wanted


def _embeddings(member: DescribedPackage, of: str) -> list[str]:
    """What the embeddings beside a field's candidates depend on, beyond its scores."""
    return [member.name, member.logit_fingerprint(), of]


def header_identities(survey: Survey) -> Identities:
    """32 hex digits for each field, of the files that its header is looked for in and of how they are read."""
    key = fingerprint([survey.provenance(), str(survey.root)])
    fields = survey.fields()
    return np.fromiter((_header_identity(key, survey, field) for field in fields), "S32", len(fields))


def _header_identity(key: str, survey: Survey, field: Field) -> bytes:
    images = [survey.identity(planes["image"]) for planes in field.planes.values()]
    return fingerprint([key, field.field_id, images])[:32].encode()
