"""A field of a scan opened once more, so that cutouts which were not kept can be cut again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.io.places import Place
    from workflows.field_cutouts import Fresh
    from workflows.setup import ScanSetup


def require_same_scan(setup: ScanSetup, output: Place, reference: str, key: str) -> None:
    """Refuse a config that is not that of an output; `reference` names it, and `key` is what it was given as.

    Raises
    ------
    ConfigError
        If it is of another scan, survey or release.
    """
    from pipeline.io import ownership

    owner = ownership.identity(output)
    mine = (setup.config.scan_id, setup.survey.name, setup.survey.release)
    if mine != (owner["scan_id"], owner["survey"], owner["release"]):
        raise ConfigError(
            f"{reference} is scan {mine[0]!r} of {mine[1]} {mine[2]}, {output} is {owner['scan_id']!r} of "
            f"{owner['survey']} {owner['release']}; give the config of that scan as {key}."
        )


def reopened(setup: ScanSetup, field_id: str) -> Fresh:
    """A field with the masks and detections that its scan found; its cutouts are what the scan cut.

    Raises
    ------
    ConfigError
        If the config cuts other stamps than the scan did.
    ProductMismatch, OSError
        If a product or a file of the survey is not there.
    """
    from pipeline.io import cutout_store
    from pipeline.io.places import place
    from pipeline.scan.held import held
    from workflows import field_tables
    from workflows.field_cutouts import Fresh
    from workflows.field_cutting import live

    config, job = setup.config, setup.job()
    output = place(job.output)
    image, memory = held(setup.survey.open(setup.survey.field(field_id), config.bands), config.memory)
    masks = field_tables.read_masks(output / live(job, field_id, "masks").place)
    detections = field_tables.read_detections(output / live(job, field_id, "detect").place, config.bands)
    fresh = Fresh(image, masks, detections, config, memory)
    before = cutout_store.open_store(output / live(job, field_id, "cutouts").place)
    if (before.bands, before.size, before.rows) != (image.bands, fresh.size, len(detections)):
        raise ConfigError(
            f"field {field_id}: the config cuts other stamps than the scan did; run the scan with it first."
        )
    return fresh
