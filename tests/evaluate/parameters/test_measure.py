"""An evaluation of lens parameters from pool to page, and what is counted in it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.evaluate.parameters.answers import Answers, Asked, load_posterior_packages
from pipeline.evaluate.parameters.config import ParametersConfig
from pipeline.evaluate.parameters.measure import measure
from pipeline.evaluate.samples.sample import Sample
from pipeline.models import build
from pipeline.models.parameter_truth import TRUTH_COLUMNS
from pipeline.models.posterior import NAMES
from pipeline.models.publish import save_package
from tests.cards import UNFITTED, card
from workflows.evaluate_kinds import run_kind

N, S = 40, 63


def config(**changes: object) -> ParametersConfig:
    values = {
        "kind": "parameters",
        "name": "try",
        "packages": ["none"],
        "samples_each": S,
        "cuts": [{"name": "large", "above": {"theta_E_over_seeing": 1.2}}, {"name": "all"}],
        "bins": [{"column": "theta_E", "edges": [1.0, 1.5, 2.1]}],
        "samples": [{"kind": "pools", "name": "sims", "column": "simulations", "pools": ["none"]}],
    }
    return ParametersConfig.model_validate({**values, **changes})


def asked(**columns: np.ndarray) -> Asked:
    """The first half are lenses of theta_E 1 to 2, measured 3 % too large within 0.1, under a seeing of 1 arcsec."""
    rng = np.random.default_rng(6)
    lens = np.arange(N) < N // 2
    truth = np.full((N, len(NAMES)), np.nan, np.float32)
    truth[lens] = 0.1
    truth[lens, 0] = np.linspace(1, 2, N // 2, dtype=np.float32)
    samples = np.nan_to_num(truth)[:, None] + rng.normal(0, 0.1, (N, S, len(NAMES)))
    samples[..., 0] += np.nan_to_num(0.03 * truth[:, :1])
    told = {"seeing": np.ones(N), "kind": np.where(lens, "lens", np.where(np.arange(N) % 2, "star", "spiral"))}
    sample = Sample("sims", "simulations", ("g",), 0.3, lens, {**told, **columns}, iter, None, (), None, None, None)
    zeros = np.zeros(N, np.float32)
    unfamiliar = np.where(lens, 0.5, 1.0).astype(np.float32)
    beyond = np.where(np.arange(N) == 0, 0.5, 0.0).astype(np.float32)
    logit = np.where(np.arange(N) == 1, -2.0, 2.0).astype(np.float32)
    answers = Answers("one", samples.astype(np.float32), zeros, logit, unfamiliar, beyond)
    return Asked(sample, truth, zeros, (answers,))


def test_figures_are_of_the_lenses_that_a_cut_leaves():
    found = measure(config(), [], [asked()], not_measured={}, version="")
    large, everything = (found.known[0].figure(cut, "theta_E") for cut in ("large", "all"))
    assert (large.n, everything.n) == (16, 20)
    assert large.bias.value == pytest.approx(0.03, abs=0.01)
    assert large.unit == "%"
    assert [item.n for item in found.known[0].bins["theta_E"]] == [6, 10]


def test_a_separation_is_compared_where_it_is_known_and_the_posterior_trusted():
    separation = np.where(np.arange(N) < 10, 2 * np.linspace(1, 2, N // 2).repeat(2)[:N], np.nan)
    separation[:10] = 2 * np.linspace(1, 2, N // 2)[:10]
    found = measure(config(), [], [asked(image_sep=separation)], not_measured={}, version="").separations[0]
    assert (found.n, found.trusted) == (10, 8)
    assert found.ratio.value == pytest.approx(1.03, abs=0.01)
    assert found.inside.value > 0.9


def test_what_is_no_lens_or_unfamiliar_or_reaches_beyond_the_training_is_not_trusted():
    guard = {item.stamps: item for item in measure(config(), [], [asked()], not_measured={}, version="").guard}
    assert (guard["lenses, sims"].n, guard["lenses, sims"].trusted.value) == (20, 18 / 20)
    assert (guard["others, sims"].n, guard["others, sims"].trusted.value) == (20, 0.0)
    assert guard["star, sims"].n == guard["spiral, sims"].n == 10


def test_a_cut_that_leaves_nothing_and_a_column_that_is_not_there_are_config_errors():
    with pytest.raises(ConfigError, match="no lens is left by cut 'none'"):
        measure(config(cuts=[{"name": "none", "above": {"seeing": 5.0}}]), [], [asked()], not_measured={}, version="")
    with pytest.raises(ConfigError, match="no column seing; it has theta_E_over_seeing, kind, seeing"):
        measure(config(cuts=[{"name": "none", "above": {"seing": 5.0}}]), [], [asked()], not_measured={}, version="")


def package(folder: Path, architecture: str, **arguments: int) -> Path:
    torch.manual_seed(1)
    network = build(architecture, 7, arguments)
    own = card(name=folder.name, architecture=architecture, arguments=arguments, size_pix=48)
    save_package(folder, own, network, UNFITTED)
    return folder


def test_a_package_without_posteriors_is_refused_by_name(tmp_path: Path):
    with pytest.raises(ModelMismatch, match=r"'plain' \(cnn\) gives no posterior"):
        load_posterior_packages([str(package(tmp_path / "plain", "cnn", width=8))])


def test_an_evaluation_writes_its_figures_and_a_page_that_loads_nothing(tmp_path: Path):
    rng = np.random.default_rng(1)
    columns = {name: np.where(np.arange(24) % 3, rng.uniform(0.05, 0.1, 24), np.nan) for name in TRUTH_COLUMNS}
    columns |= {"theta_E": columns["theta_E"] + 1.5, "slope": columns["slope"] + 1.9, "magnified": np.ones(24)}
    np.savez(
        tmp_path / "pool-0.npz",
        image=rng.normal(size=(24, 3, 52, 52)).astype(np.float32),
        ivar=np.ones((24, 3, 52, 52), np.float32),
        mask=np.zeros((24, 3, 52, 52), np.uint32),
        label=(np.arange(24) % 3 > 0).astype(int),
        seeing=np.full((24, 3), 0.9),
        bands=np.array(["g", "r", "i"]),
        pixel_scale=0.3,
        **columns,
    )
    folder = package(tmp_path / "small", "lensnet", width=8, hidden=32)
    path = tmp_path / "try.toml"
    path.write_text(
        f'kind = "parameters"\nname = "try"\npackages = ["{folder}"]\nsamples_each = 31\nrank_bins = 8\npictures = 3\n'
        '[[cuts]]\nname = "all"\n[[bins]]\ncolumn = "theta_E"\nedges = [1.0, 1.6, 2.0]\n'
        f'[[samples]]\nkind = "pools"\nname = "sims"\ncolumn = "simulations"\npools = ["{tmp_path}/pool-*.npz"]\n'
        '[[samples]]\nkind = "pools"\nname = "gone"\ncolumn = "simulations"\npools = ["nowhere/pool-*.npz"]\n'
    )
    told = run_kind("parameters", path, tmp_path / "out", lambda message: None)
    result = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert result["not_measured"]["gone"].startswith("no file matches")
    assert result["known"][0]["figures"][0]["n"] == 16
    assert sum(result["known"][0]["calibrated"]["e1"]["counts"]) == 16
    assert told.values["packages"] == result["packages"]
    html = (tmp_path / "out" / "report.html").read_text()
    assert "http" not in html.replace("http://www.w3.org", "")
    assert html.count('class="band"') == 3
    assert html.count('class="truth"') == 3
