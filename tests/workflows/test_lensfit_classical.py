"""Fits and pictures of single objects, from what a network says of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.config import config_root
from pipeline.io.cutout_store import Stamps
from pipeline.lensfit.config import FitConfig, load_fit
from pipeline.models.posterior import PARAMETERS, Posterior
from workflows.lensfit_classical import Classical
from workflows.lensfit_measure import Asked, in_order
from workflows.lensfit_stamps import FieldStamps
from workflows.lensfit_table import Parameters

SIDE = 24


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> FitConfig:
    """A fit that is given up after two steps."""
    text = (config_root() / "lensfit" / "galaxies.toml").read_text(encoding="utf-8")
    for key, value in (("screened", 4), ("starts", 2), ("steps", 2), ("oversampling", 1)):
        text = re.sub(rf"^{key} = \d+", f"{key} = {value}", text, flags=re.MULTILINE)
    path = tmp_path_factory.mktemp("fit") / "quick.toml"
    path.write_text(text, encoding="utf-8")
    return load_fit(path)


def given() -> tuple[FieldStamps, Stamps, Parameters]:
    """A galaxy, and a stamp without a pixel, of which the network says nothing."""
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    image = np.random.default_rng(3).normal(0, 1, (2, 1, SIDE, SIDE))
    image += 100 * np.exp(-np.hypot(x, y) / 2)
    ivar = np.ones_like(image)
    ivar[1] = 0
    cutouts = Stamps(image.astype(np.float32), ivar.astype(np.float32), np.zeros(image.shape, np.uint32))
    samples = 0.02 * np.random.default_rng(4).normal(size=(2, 50, len(PARAMETERS)))
    samples[..., 0] += 1.2
    samples[1] = np.nan
    rows: dict[str, Any] = {
        "objid": np.array([7, -8]),
        "field_id": np.array(["A", "A"], object),
        "ra": np.array([1.0, 2.0]),
        "dec": np.array([3.0, 4.0]),
        "score": np.array([0.5, np.nan], np.float32),
    }
    found = Parameters(rows, "network", Posterior(samples.astype(np.float32)), np.array([True, False]))
    nowhere: Any = None
    return FieldStamps("A", np.arange(2), ("i",), 0.25, np.array([0.8]), 8, nowhere), cutouts, found


def test_objects_are_fitted_and_drawn_and_one_that_cannot_be_goes_without(
    quick: FitConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stamps, cutouts, found = given()
    classical = Classical(quick, "map", tmp_path)
    fits = classical.all(stamps, cutouts, found)
    assert fits is not None
    assert "A--8: not fitted: 0 usable pixels" in capsys.readouterr().err
    table = fits.table()
    assert table["method"].to_pylist() == ["map", "map"]
    assert table["theta_E"].is_valid().to_pylist() == [True, False]
    assert table["theta_E_trusted"].is_valid().to_pylist() == [True, False]
    assert fits.samples()["objid"].to_pylist() == [7]
    assert (classical.drawn, [path.name for path in tmp_path.iterdir()]) == (1, ["A-7.png"])
    with Image.open(tmp_path / "A-7.png") as picture:
        assert picture.width > 4 * 200
    asked = Asked(pa.table({"field_id": ["A", "A"], "objid": [-8, 7]}))
    whole = in_order([found.table(), table], asked)
    assert whole["objid"].to_pylist() == [-8, -8, 7, 7]
    assert whole["method"].to_pylist() == ["network", "map"] * 2


def test_without_a_method_the_networks_mean_is_drawn_and_nothing_fitted(quick: FitConfig, tmp_path: Path) -> None:
    stamps, cutouts, found = given()
    classical = Classical(quick, None, tmp_path)
    assert classical.all(stamps, cutouts, found) is None
    assert classical.drawn == 1
