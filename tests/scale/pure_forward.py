"""The members' forward passes on a worker, and nothing else: what a scan would take if all the rest were free."""

from __future__ import annotations

import time

import numpy as np
import torch

from pipeline.io import cutout_store, products
from pipeline.io.places import place
from pipeline.scan.member_inputs import Cutouts, Prepared, batches
from pipeline.scan.score import member_forward
from workflows.job import Job
from workflows.remembered import computing


def pure_forward(job: Job, field_id: str, batches_wanted: int) -> float:
    """Worker seconds an object of every view of every member, on a scan's own cutouts.

    Inputs lie in memory, prepared as the members want them; one batch goes ahead to warm up.
    """
    live = products.live_manifest(place(job.output), field_id, "cutouts")
    assert live is not None
    store = cutout_store.open_store(place(job.output) / live.place)
    stamps = cutout_store.read_shard(store, 0)
    cutouts = Cutouts(stamps.image, stamps.ivar, stamps.mask, store.bands, store.pixel_scale)
    config = job.config.score
    device = torch.device("cuda" if torch.cuda.is_available() and config.device != "cpu" else "cpu")
    rows = np.resize(np.arange(len(cutouts)), config.batch)
    with computing(job) as ensemble, torch.inference_mode():
        batch = next(batches(cutouts, rows, config.batch)).to(device)
        prepared = Prepared(batch, cutouts, config)
        ready = [
            (member_forward(member, device, config), prepared.views(member.card, ensemble.views))
            for member in ensemble.members
        ]
        for forward, views in ready:
            forward(views)
        began = time.perf_counter()
        for _ in range(batches_wanted):
            for forward, views in ready:
                forward(views)
        return (time.perf_counter() - began) / (batches_wanted * config.batch)
