"""What a network that measures lenses is shown, how it is judged, and how its widths are set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.models import build
from pipeline.models.parameter_truth import TRUTH_COLUMNS, parameters_of
from pipeline.models.posterior import PARAMETERS
from pipeline.train.config import TrainConfig
from pipeline.train.data import read_stamps
from pipeline.train.data_config import FoldersConfig
from pipeline.train.held import Stamps
from pipeline.train.measured import familiar_lenses, fit_width, parameter_figures, set_support
from pipeline.train.method_config import PosteriorConfig
from pipeline.train.methods import Batch, Context, build_method
from pipeline.train.sources import open_rows

BANDS = ("g", "r", "i")
CONFIG = TrainConfig.model_validate(
    {
        "name": "measures",
        "seed": 3,
        "network": {"architecture": "lensnet", "arguments": {"width": 8, "hidden": 32, "flow": 0}},
        "package": {"bands": BANDS, "pixel_scale": "0.3 arcsec", "size_pix": 48, "reference": "none"},
        "data": {"train": ["none"], "validation": ["none"]},
        "method": {"name": "posterior"},
        "run": {"dtype": "float32"},
    }
)


def columns(n: int) -> dict[str, np.ndarray]:
    """Truth of which the odd stamps have a lens."""
    rng = np.random.default_rng(2)
    told = {
        name: np.where(np.arange(n) % 2, rng.uniform(0.01, 0.2, n), np.nan).astype(np.float32) for name in TRUTH_COLUMNS
    }
    told["theta_E"] += 1.5
    told["slope"] += 1.9
    told["magnified"] = np.ones(n, np.float32)
    return told


def pool(path: Path, n: int = 6, **changes: object) -> None:
    rng = np.random.default_rng(4)
    arrays = {
        "image": rng.normal(size=(n, 3, 48, 48)).astype(np.float32),
        "mask": np.zeros((n, 3, 48, 48), np.uint32),
        "label": np.arange(n) % 2,
        "bands": np.array(BANDS),
        "pixel_scale": 0.3,
        **columns(n),
        **changes,
    }
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


def stamps(tmp_path: Path, n: int) -> Stamps:
    pool(tmp_path / "pool-0.npz", n)
    return read_stamps([str(tmp_path / "pool-0.npz")], BANDS, 0.3, parameters=True)


def test_parameters_of_a_pool_are_held_row_by_row_and_are_part_of_the_digest(tmp_path: Path):
    held = stamps(tmp_path, 600)
    expected = parameters_of(columns(600))
    np.testing.assert_array_equal(held.take_parameters(np.array([1, 300, 599])).numpy(), expected[[1, 300, 599]])
    plain = read_stamps([str(tmp_path / "pool-0.npz")], BANDS, 0.3)
    assert plain.parameters is None
    assert plain.digest != held.digest
    with pytest.raises(ValueError, match="without lens parameters"):
        plain.take_parameters(np.array([1]))


def test_a_pool_that_is_older_than_its_truth_is_read_without_parameters_and_refused_with(tmp_path: Path):
    pool(tmp_path / "pool-0.npz", e1=None, magnified=None)
    assert len(read_stamps([str(tmp_path / "pool-0.npz")], BANDS, 0.3)) == 6
    with pytest.raises(ConfigError, match=r"no truth of e1, magnified.*simulate the pool again"):
        read_stamps([str(tmp_path / "pool-0.npz")], BANDS, 0.3, parameters=True)


def test_stamps_without_a_truth_cannot_teach_parameters(tmp_path: Path):
    source = FoldersConfig(kind="folders", path=str(tmp_path), pixel_scale="0.3 arcsec")
    with pytest.raises(ConfigError, match="no true lens parameters"):
        open_rows(source, BANDS, 0.3, parameters=True)


def losses(architecture: str, parameters: torch.Tensor | None) -> dict[str, float]:
    torch.manual_seed(1)
    method = build_method(PosteriorConfig(name="posterior"), channels=7, size=48)
    channels = torch.randn(4, 7, 48, 48)
    batch = Batch(channels, torch.tensor([0.0, 1.0, 1.0, 0.0]), parameters=parameters)
    network = build(architecture, 7, {"width": 8}).eval()
    context = Context(0, 10, network, torch.Generator().manual_seed(1))
    return {name: value.item() for name, value in method.losses(network, batch, context).items()}


def test_only_lenses_have_a_posterior_to_lose():
    parameters = torch.full((4, len(PARAMETERS)), torch.nan)
    parameters[1], parameters[2] = 0.3, 0.2
    found = losses("lensnet", parameters)
    torch.manual_seed(1)
    channels = torch.randn(4, 7, 48, 48)
    network = build("lensnet", 7, {"width": 8}).eval()
    with torch.no_grad():
        embedding = network.embed(channels)
        alone = -network.head.log_prob(embedding[1:3], parameters[1:3])
    assert found["posterior"] == pytest.approx(float(alone.mean()), rel=1e-5)
    assert found["label"] > 0
    assert list(losses("lensnet", torch.full((4, len(PARAMETERS)), torch.nan))) == ["label"]


def test_a_network_without_a_posterior_and_stamps_without_parameters_are_refused():
    with pytest.raises(ConfigError, match='trains a network that gives one: "lensnet"'):
        losses("cnn", torch.zeros(4, len(PARAMETERS)))
    with pytest.raises(ConfigError, match="read with their lens parameters"):
        losses("lensnet", None)


def network_and_lenses(tmp_path: Path) -> tuple[torch.nn.Module, Stamps]:
    """A network that says nearly the same of every stamp, and lenses drawn from what it says, twice as wide."""
    torch.manual_seed(2)
    network = build("lensnet", 7, CONFIG.network.arguments).eval()
    held = stamps(tmp_path, 400)
    head = network.head
    with torch.no_grad():
        head.normal.weight.zero_()
        head.width.fill_(2.0)
        drawn = head.sample(torch.zeros(1, 32), torch.randn(400, len(PARAMETERS)))[0].numpy()
        head.width.fill_(1.0)
    lens = held.lens[:, None]
    return network, replace(held, parameters=np.where(lens, drawn, np.nan).astype(np.float32))


def test_widths_make_up_for_posteriors_that_are_too_narrow(tmp_path: Path):
    network, held = network_and_lenses(tmp_path)
    before = parameter_figures(network, held, CONFIG)
    width = fit_width(network, held, CONFIG, np.arange(400))
    after = parameter_figures(network, held, CONFIG)
    assert width.numpy() == pytest.approx(np.full(len(PARAMETERS), 2.0), rel=0.25)
    assert before["theta_E_coverage_68"] < 0.5
    assert after["theta_E_coverage_68"] == pytest.approx(0.68, abs=0.03)
    assert after["log_posterior"] > before["log_posterior"]


def test_the_support_is_what_the_lenses_hold_and_lenses_alone_are_familiar(tmp_path: Path):
    network, held = network_and_lenses(tmp_path)
    set_support(network, held)
    lenses = held.parameters[held.lens]
    low, high = network.head.support.numpy()
    assert ((lenses >= low) & (lenses <= high)).mean() == pytest.approx(0.998, abs=0.012)
    familiarity = familiar_lenses(network, held, held, CONFIG)
    assert len(familiarity.means) == 1
    assert "200 lenses of the training" in familiarity.fitted_on
