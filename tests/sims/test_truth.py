from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from pipeline.sims.inject.truth import InjectionTruth
from pipeline.sims.stamps.truth import StampTruth
from pipeline.sims.truth import Truth, empty_stamps


@pytest.mark.parametrize("kind", [StampTruth, InjectionTruth])
def test_nothing_is_known_of_an_empty_truth(kind: type[Truth]) -> None:
    truth = kind.empty(3, bands=2)
    assert truth.seeing.shape == (3, 2)
    assert all(len(getattr(truth, item.name)) == 3 for item in fields(truth))
    assert np.isnan(truth.theta_E).all()
    assert truth.theta_E.dtype == np.float32
    assert truth.source_id.tolist() == [-1, -1, -1]
    assert truth.artefacts.dtype == np.uint32


def test_columns_of_an_empty_truth_share_no_memory() -> None:
    truth = StampTruth.empty(2, bands=1)
    truth.theta_E[0] = 1.0
    assert np.isnan(truth.arc_snr).all()


def test_both_pools_have_the_columns_that_a_lens_has() -> None:
    shared = {item.name for item in fields(Truth)}
    own = [{item.name for item in fields(kind)} - shared for kind in (StampTruth, InjectionTruth)]
    assert own[0] == {"quasar_images", "separation"}
    assert {"e1", "e2", "shear_1", "shear_2", "convergence", "slope", "source_x", "lens_x", "magnified"} <= shared
    assert own[1] == {"q_mass", "angle_mass", "objid", "field_id", "ra", "dec", "turn"}


def test_empty_stamps_are_of_the_truth_s_number_and_bands() -> None:
    stamps = empty_stamps(StampTruth.empty(4, bands=3), size=16)
    assert stamps.image.shape == stamps.ivar.shape == stamps.mask.shape == (4, 3, 16, 16)
    assert stamps.arc.shape == (4, 16, 16)
    assert not stamps.arc.any()
    assert not stamps.label.any()
