"""What a report says of the ensemble that scored: its calibration, and the maps that it draws of stamps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.catalogue.report_facts import CalibrationFacts, CalibrationFit

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from pipeline.catalogue.report import MapSource
    from pipeline.catalogue.stamps import Stamp
    from pipeline.io.places import Place
    from pipeline.models.described_ensemble import DescribedEnsemble

    Map = npt.NDArray[np.float32]

_ERROR = "expected calibration error"


@dataclass(frozen=True)
class ReportEnsemble:
    """What was found of it.

    Attributes
    ----------
    calibration : CalibrationFacts or None
        None where the scan has no ensemble.
    maps : callable or None
        Draws maps; None where there are none to draw.
    told : str
        What a reader should know of the maps.
    """

    calibration: CalibrationFacts | None
    maps: MapSource | None
    told: str


def report_ensemble(output: Place, reference: str | Path | None = None, *, maps: bool = True) -> ReportEnsemble:
    """Find the ensemble of a scan, by what its products say or by name.

    Parameters
    ----------
    output : Path or ObjectPath
        The scan's output folder.
    reference : str or Path, optional
        An ensemble TOML or the name of a shipped one, instead of the one that the products name.
    maps : bool
        Whether maps are wanted; drawing them needs torch.

    Raises
    ------
    ConfigError, ModelMismatch
        If `reference` is given and can't be read. An ensemble that the products name and that is no longer there is
        told on the page instead.
    """
    from pipeline.config import shipped
    from pipeline.errors import LensscanError
    from pipeline.models.described_ensemble import describe_ensemble

    named, digests = _named(output)
    chosen = reference if reference is not None else named
    if chosen is None:
        return ReportEnsemble(None, None, "")
    if reference is None and named not in shipped("ensembles") and not Path(str(named)).is_absolute():
        # A path in a config is relative to its folder, which the products don't know.
        note = (
            "Its file is not known here; lensscan report --ensemble FILE shows its calibration and outlines its maps."
        )
        return ReportEnsemble(CalibrationFacts(str(named), (), note), None, "")
    try:
        ensemble = describe_ensemble(chosen)
    except LensscanError as error:
        if reference is not None:
            raise
        return ReportEnsemble(CalibrationFacts(str(named), (), f"It can't be read: {error}"), None, "")
    changed = [name for name, digest in ensemble.package_digests().items() if digests and digests.get(name) != digest]
    note = f"Its weights of {', '.join(changed)} are not those that scored." if changed else ""
    facts = CalibrationFacts(ensemble.name, _fits(ensemble), note)
    if not maps or ensemble.mapper is None:
        return ReportEnsemble(facts, None, "")
    package = ensemble.mapper.package
    if digests and digests.get(package.name) != package.weights_sha256:
        return ReportEnsemble(facts, None, f"No maps: the weights of {package.name} are not those of the scan.")
    return ReportEnsemble(facts, _drawn_by(package.path), f"Outlines of maps are drawn by {package.name}.")


def _named(output: Place) -> tuple[str | None, dict[str, str]]:
    """The ensemble of the first field that has scores, and the sha256 of each package's weights."""
    from pipeline.catalogue.explain import ensemble_of
    from pipeline.io.products import listings

    for field_id, stages in listings(output):
        if "candidates" in stages:
            return ensemble_of(output, field_id)
    return None, {}


def _fits(ensemble: DescribedEnsemble) -> tuple[CalibrationFit, ...]:
    """The ensemble's own calibration, then its members', with the error that their cards tell first."""
    fits = []
    if ensemble.calibration is not None:
        fits.append(_fit(f"{ensemble.name} ({ensemble.rule})", ensemble.calibration))
    for member, weight in zip(ensemble.members, ensemble.weights, strict=True):
        measured = next((metric for metric in member.card.metrics if metric.name == _ERROR), None)
        error, sample = (measured.value, measured.sample) if measured is not None else (None, "")
        name = member.name if weight else f"{member.name} (beside the rule)"
        fits.append(_fit(name, member.calibration, error, sample))
    return tuple(fits)


def _fit(name: str, calibration: Any, error: float | None = None, sample: str = "") -> CalibrationFit:
    return CalibrationFit(
        name,
        calibration.method,
        calibration.prior,
        calibration.n_lenses,
        calibration.n_others,
        calibration.fitted_on,
        error,
        sample,
    )


def _drawn_by(package: Path) -> MapSource:
    """Draws with the network of a package, which is loaded when the first stamp comes."""

    def draw(stamps: Sequence[Stamp]) -> list[tuple[Map, Map] | None]:
        import numpy as np

        from pipeline.errors import ModelMismatch
        from pipeline.models.mapper import Mapper
        from pipeline.models.package import load_package
        from pipeline.scan.maps import map_cutouts

        mapper = Mapper(load_package(package))
        drawn: list[tuple[Map, Map] | None] = [None] * len(stamps)
        alike: dict[Any, list[int]] = {}
        for number, stamp in enumerate(stamps):
            key = (stamp.image.shape, stamp.bands, stamp.pixel_scale, stamp.ivar is None)
            alike.setdefault(key, []).append(number)
        for (_, bands, scale, bare), numbers in alike.items():
            some = [stamps[number] for number in numbers]
            ivar = None if bare else np.stack([stamp.ivar for stamp in some if stamp.ivar is not None])
            try:
                maps = map_cutouts(
                    np.stack([stamp.image for stamp in some]),
                    ivar,
                    np.stack([stamp.mask for stamp in some]),
                    pixel_scale=scale,
                    bands=bands,
                    mapper=mapper,
                )
            except ModelMismatch:
                continue  # stamps that lack the bands of the maps
            for place, number in enumerate(numbers):
                drawn[number] = (maps.lens_light[place], maps.artefact[place])
        return drawn

    return draw
