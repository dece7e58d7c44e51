"""The compiled back end: the same answers as torch's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.models import build
from pipeline.models.calibration import Calibration
from pipeline.models.ensemble import Ensemble
from pipeline.models.package import ModelPackage
from pipeline.scan.score import score_cutouts
from pipeline.scan_config import ScoreConfig
from tests.cards import card

BANDS = ("g", "r", "i")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler (g++) for torch.compile")
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
def test_compiled_members_answer_as_they_do_uncompiled_to_the_same_bytes_each_time():
    torch.manual_seed(5)
    calibration = Calibration(slope=1, offset=0, prior=0.5, n_lenses=1, n_others=1, fitted_on="")
    members = tuple(
        ModelPackage(
            Path(),
            card(name=name, architecture=name, bands=BANDS),
            "",
            calibration,
            network=build(name, 7, {"width": 8}).eval(),
        )
        for name in ("cnn",)
    )
    ensemble = Ensemble("test", members, (1.0,), "mean_log_odds", views=2)
    image = np.random.default_rng(0).normal(0, 10, (11, 3, 64, 64)).astype(np.float32)

    def ask(backend: str) -> np.ndarray:
        config = ScoreConfig(batch=8, device="cpu", backend=backend)
        return score_cutouts(image, None, None, pixel_scale=0.3, bands=BANDS, ensemble=ensemble, config=config)

    compiled = ask("compile")
    np.testing.assert_allclose(compiled, ask("torch"), atol=1e-4)
    assert compiled.tobytes() == ask("compile").tobytes()
