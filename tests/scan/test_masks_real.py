"""Artefacts of real surveys that no mask plane tells of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.flags import PixelFlag, VetFlag, has
from pipeline.scan.cutouts import cut
from pipeline.scan.detect import detect
from pipeline.scan.masks import calibrated, find
from pipeline.scan.vet import vet_flags
from pipeline.scan_config import CutoutsConfig, DetectConfig, MasksConfig, VetConfig
from pipeline.surveys import open_survey

MEMORY = 200.0


def opened(name: str, field_id: str, bands: tuple[str, ...]):
    survey = open_survey(name)
    (field,) = [field for field in survey.fields() if field.field_id == field_id]
    return survey.open(field, bands)


@pytest.mark.parametrize("field_id", ["KV0", "KV1"])
def test_the_detector_strip_of_kids_viking_is_flagged_and_the_sky_beside_it_is_not(real_data: Path, field_id: str):
    field = opened("kids-viking", field_id, ("g", "r", "i"))
    masks = find(field, MasksConfig(), MEMORY)
    mask = calibrated(field, masks, 0, field.shape[0]).mask
    edge, strip = has(mask, PixelFlag.CHIP_GAP), has(mask, PixelFlag.CHIP_GAP | PixelFlag.SEAM)
    assert strip[1, :, 783:868].mean() > 0.9
    assert edge[1, :, 775:880].any(axis=1).mean() > 0.9
    assert edge[0, :, 775:880].any(axis=1).mean() > 0.4
    assert edge[:, :, 950:].mean() < 0.01
    assert edge.mean() < 0.02
    assert strip.mean() < 0.1


def test_stamps_across_the_strip_are_flagged(real_data: Path):
    field = opened("kids-viking", "KV0", ("g", "r", "i"))
    masks = find(field, MasksConfig(), MEMORY)
    rows = detect(field, masks, DetectConfig(), MEMORY)
    shards = list(cut(field, masks, rows, CutoutsConfig(), VetConfig(), MEMORY))
    assert sum(len(shard) for shard in shards) == len(rows)
    index = np.concatenate([shard.index for shard in shards])
    area = shards[0].image.shape[-1] ** 2
    flags = np.concatenate([vet_flags(shard.stats, None, VetConfig(), area) for shard in shards])
    crossing = (rows.x[index] > 783 - 20) & (rows.x[index] < 874 + 20)
    crosses = (flags & np.uint32(VetFlag.CHIP_GAP_CROSSES | VetFlag.SEAM)) != 0
    assert crossing.sum() > 20
    assert crosses[crossing].all()
    assert crosses[rows.x[index] > 1000].mean() < 0.02


def test_horizontal_detector_edges_of_viking_are_found(real_data: Path):
    field = opened("kids-viking", "KV1", ("H",))
    gap = has(calibrated(field, find(field, MasksConfig(), MEMORY), 0, field.shape[0]).mask, PixelFlag.CHIP_GAP)[0]
    assert gap[446:452, 900:1100].mean() > 0.9
    assert gap.mean() < 0.05


def test_the_satellite_that_crossed_vista_is_a_trail_and_not_an_edge(real_data: Path):
    field = opened("vista-dithers", "dither6", ("H",))
    mask = calibrated(field, find(field, MasksConfig(), MEMORY), 0, field.shape[0]).mask[0]
    trail = has(mask, PixelFlag.TRAIL)
    for x in range(50, 1800, 100):
        y = round(1350 + (1480 - 1350) * x / 1855)
        assert trail[y - 8 : y + 16, x].any(), x
    assert trail.mean() < 0.03


def test_the_halo_of_the_star_in_the_hsc_cutout_ends_inside_it(real_data: Path):
    field = opened("hsc-mask", open_survey("hsc-mask").fields()[0].field_id, ("r",))
    mask = calibrated(field, find(field, MasksConfig(), MEMORY), 0, field.shape[0]).mask[0]
    halo = has(mask, PixelFlag.HALO)
    assert halo[322, 266]
    assert halo.mean() < 0.02


def test_the_large_elliptical_of_kids_viking_is_no_ghost(real_data: Path):
    field = opened("kids-viking", "KV0", ("g", "r", "i"))
    mask = calibrated(field, find(field, MasksConfig(), MEMORY), 0, field.shape[0]).mask
    assert not has(mask, PixelFlag.GHOST)[:, 400:560, 1100:1300].any()
