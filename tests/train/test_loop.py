"""The training loop: it learns, and a stopped run resumes to the same numbers."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import ConfigError, ModelMismatch, ProductMismatch
from pipeline.evaluate.metrics import auroc
from pipeline.models import build
from pipeline.models.card import find_package
from pipeline.models.package import load_package
from pipeline.models.publish import save_package
from pipeline.train.config import MiningConfig, SamplerConfig, TrainConfig
from pipeline.train.data import Stamps
from pipeline.train.finish import training_fingerprint
from pipeline.train.loop import CHECKPOINT, COMPANION, Progress, fingerprint_seed, train
from pipeline.train.mining import hard_factors
from pipeline.train.stream import Stream, class_factors
from tests.cards import UNFITTED, card


def rings(n: int, seed: int) -> Stamps:
    """Half of the stamps have a bright ring of 1.8 arcsec."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32] - 15.5
    radius = np.hypot(x, y) * 0.3
    lens = np.arange(n) % 2 == 0
    image = rng.normal(0, 10, (n, 3, 32, 32)) + 300 * np.exp(-radius)
    image[lens] += 60 * np.exp(-((radius - 1.8) ** 2) / 0.1)
    flagged = np.zeros((n, 3, 32, 4), np.uint8)
    return Stamps(
        image.astype(np.float32), flagged, lens, np.where(lens, "lens", "other"), ("g", "r", "i"), 0.3, str(seed)
    )


def config(**changes: object) -> TrainConfig:
    values = {
        "name": "test",
        "seed": 3,
        "network": {"architecture": "cnn", "arguments": {"width": 8}},
        "package": {"bands": ["g", "r", "i"], "pixel_scale": "0.3 arcsec", "size_pix": 32, "reference": "none"},
        "data": {"train": ["x"], "validation": ["y"]},
        "optimiser": {"batch": 32, "epochs": 6, "average": 0.9},
        "run": {"dtype": "float32", "checkpoint_steps": 7, "report_steps": 4, "device": "cpu"},
    }
    values.update(changes)
    return TrainConfig.model_validate(values)


class Stop(Exception):
    pass


def read_history(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_rings(tmp_path: Path):
    trained = train(
        config(optimiser={"batch": 32, "epochs": 12, "average": 0.9}), rings(256, 1), rings(100, 2), tmp_path
    )
    assert auroc(trained.logits, rings(100, 2).lens).value > 0.9
    lines = read_history(tmp_path)
    assert lines[-1]["auroc"] > 0.9
    assert {"step", "loss"} <= set(lines[0])
    speed = [json.loads(line) for line in (tmp_path / "speed.jsonl").read_text().splitlines()]
    assert all(line["rate"] > 0 and line["left"] >= 0 for line in speed)


METHODS: dict[str, dict[str, object]] = {
    "supervised": {"name": "supervised", "mixup": 0.2},
    "asymmetric": {"name": "asymmetric", "loss": "asymmetric"},
    "pi-model": {"name": "consistency", "target": "pi-model"},
    "mean-teacher": {"name": "consistency", "target": "mean-teacher"},
    "vat": {"name": "consistency", "target": "vat", "distance": "kl"},
    "pseudo-label": {"name": "pseudo_label", "threshold": 0.6},
    "mixmatch": {"name": "mixmatch"},
    "wgan-gp": {"name": "adversarial", "width": 8, "latent": 8, "start": 0.3},
}


def stop_at(step: int) -> Callable[[Progress], None]:
    def stop(progress: Progress) -> None:
        if progress.step >= step:
            raise Stop

    return stop


def same_bytes(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_stopped_run_of_any_method_resumes_to_the_same_bytes(tmp_path: Path, name: str):
    run = config(
        method=METHODS[name],
        optimiser={"batch": 16, "steps": 10, "average": 0.9},
        sampler={"mining": {"share": 0.2, "sample": 20}},
        run={"dtype": "float32", "checkpoint_steps": 3, "report_steps": 4, "device": "cpu"},
    )
    stamps, validation, unlabelled = rings(64, 1), rings(20, 2), rings(40, 3)
    whole = train(run, stamps, validation, tmp_path / "whole", unlabelled=unlabelled)
    with pytest.raises(Stop):
        train(run, stamps, validation, tmp_path / "stopped", unlabelled=unlabelled, report=stop_at(8))
    resumed = train(run, stamps, validation, tmp_path / "stopped", unlabelled=unlabelled, resume=True)
    assert np.array_equal(whole.logits, resumed.logits)
    assert same_bytes(whole.network, resumed.network)
    for file in ("metrics.jsonl", COMPANION) if name == "wgan-gp" else ("metrics.jsonl",):
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "stopped" / file).read_bytes()
    lines = read_history(tmp_path / "whole")
    assert [line["step"] for line in lines if "loss" in line] == [4, 8, 10]
    assert [line["step"] for line in lines if "auroc" in line] == [4, 8, 10]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_loss_of_the_labels_falls_by_any_method(tmp_path: Path, name: str):
    run = config(
        method=METHODS[name],
        optimiser={"batch": 32, "steps": 24, "average": 0.9, "learning_rate": 5e-3},
        run={"dtype": "float32", "report_steps": 6, "validation_steps": 100, "device": "cpu"},
    )
    train(run, rings(64, 1), rings(20, 2), tmp_path, unlabelled=rings(64, 3))
    lines = [line for line in read_history(tmp_path) if "loss" in line]
    label = "asymmetric" if name == "asymmetric" else "bce"
    losses = [line.get(label, line["loss"]) for line in lines]
    assert losses[-1] < 0.9 * losses[0]
    assert all(np.isfinite(value) for line in lines for value in line.values())


def test_a_killed_runs_half_line_is_taken_out_on_resuming(tmp_path: Path):
    train(config(), rings(64, 1), rings(40, 2), tmp_path)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    with (tmp_path / "metrics.jsonl").open("ab") as stream:
        stream.write(b'{"step": 99, "loss"')
    train(config(), rings(64, 1), rings(40, 2), tmp_path, resume=True)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"seed": 4}, "seed is 3 there and 4 here"),
        (
            {"network": {"architecture": "multiscale", "arguments": {"width": 8}}},
            "network.architecture is cnn there and multiscale here",
        ),
        ({"method": METHODS["pi-model"]}, "method.name is supervised there and consistency here"),
    ],
)
def test_a_checkpoint_of_another_configuration_says_what_differs(tmp_path: Path, changes: dict[str, object], told: str):
    once = {"optimiser": {"batch": 32, "steps": 1}}
    train(config(**once), rings(64, 1), rings(40, 2), tmp_path)
    with pytest.raises(ProductMismatch, match=told):
        train(config(**once, **changes), rings(64, 1), rings(40, 2), tmp_path, unlabelled=rings(8, 3), resume=True)


def test_a_checkpoint_of_other_pools_says_which(tmp_path: Path):
    once = config(optimiser={"batch": 32, "steps": 1})
    train(once, rings(64, 1), rings(40, 2), tmp_path)
    with pytest.raises(ProductMismatch, match="other pools: the training stamps"):
        train(once, rings(64, 5), rings(40, 2), tmp_path, resume=True)
    with pytest.raises(ProductMismatch, match="the validation stamps"):
        train(once, rings(64, 1), rings(40, 6), tmp_path, resume=True)


class Payload:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return Path.touch, (Path("payload-was-run"),)  # type: ignore[return-value]


def test_a_checkpoint_that_is_a_pickle_of_code_or_none_at_all_is_refused(tmp_path: Path):
    once = config(optimiser={"batch": 32, "steps": 1})
    torch.save({"science": Payload()}, tmp_path / CHECKPOINT)
    with pytest.raises(ProductMismatch, match="is no checkpoint"):
        train(once, rings(64, 1), rings(40, 2), tmp_path, resume=True)
    assert not Path("payload-was-run").exists()
    for content in (b"", b"PK\x03\x04", b"nonsense", pickle.dumps(Payload())):
        (tmp_path / CHECKPOINT).write_bytes(content)
        with pytest.raises(ProductMismatch, match=r"is no checkpoint .*; train to another --out") as error:
            train(once, rings(64, 1), rings(40, 2), tmp_path, resume=True)
        assert "weights_only" not in str(error.value)
    assert not Path("payload-was-run").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_loss_and_the_step(tmp_path: Path):
    broken = config(optimiser={"batch": 32, "epochs": 6, "learning_rate": 1e30, "clip": 1e30})
    with pytest.raises(ConfigError, match=r"the loss is bce (nan|inf) at step \d+; lower optimiser.learning_rate"):
        train(broken, rings(64, 1), rings(40, 2), tmp_path)


def test_stamps_of_one_class_are_refused_before_anything_is_trained(tmp_path: Path):
    whole = rings(40, 1)
    alone = replace(whole, lens=np.zeros(40, bool))
    with pytest.raises(ConfigError, match="validation stamps are non-lenses alone"):
        train(config(), whole, alone, tmp_path)
    with pytest.raises(ConfigError, match=r"training stamps are lenses alone \(40\)"):
        train(config(), replace(whole, lens=~alone.lens), whole, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_method_without_its_unlabelled_stamps_says_where_to_name_them(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"'mixmatch' reads unlabelled stamps; name some in data\.unlabelled"):
        train(config(method={"name": "mixmatch"}), rings(40, 1), rings(20, 2), tmp_path)


def test_figures_go_to_tensorboard_too(tmp_path: Path):
    train(config(optimiser={"batch": 32, "steps": 4}), rings(64, 1), rings(40, 2), tmp_path)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    told = {(event.step, round(event.value, 4)) for event in board.Scalars("loss")}
    assert told == {(line["step"], round(line["loss"], 4)) for line in read_history(tmp_path) if "loss" in line}
    assert board.Scalars("rate")[0].value > 0


def test_without_tensorboard_a_run_says_so_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipeline.train.history.find_spec", lambda name: None)
    told: list[str] = []
    train(config(optimiser={"batch": 32, "steps": 1}), rings(64, 1), rings(40, 2), tmp_path, tell=told.append)
    assert len(told) == 1
    assert "TensorBoard is not installed" in told[0]
    assert not (tmp_path / "tensorboard").exists()
    assert read_history(tmp_path)


def test_a_network_starts_from_another_packages_encoder_and_keeps_it_where_frozen(tmp_path: Path):
    name = "ground_multiscale"
    package = load_package(find_package(name))
    start = {"architecture": "multiscale", "arguments": package.card.arguments, "encoder": name, "frozen": "encoder"}
    once = config(
        network=start, normalisation={"difference": True}, optimiser={"batch": 32, "steps": 2, "average": 0.0}
    )
    told: list[str] = []
    trained = train(once, rings(64, 1), rings(40, 2), tmp_path, tell=told.append)
    assert any(f"encoder of {name}" in line for line in told)
    for key, value in trained.network.state_dict().items():
        same = torch.equal(value, package.network.state_dict()[key])
        assert same == (not key.startswith("head."))


def test_a_package_is_trained_further_from_all_of_its_weights(tmp_path: Path):
    name = "ground_multiscale"
    package = load_package(find_package(name))
    start = {"architecture": "multiscale", "arguments": package.card.arguments, "start": name}
    further = config(
        network=start,
        normalisation={"difference": True},
        optimiser={"batch": 32, "steps": 1, "average": 0.0, "learning_rate": 1e-12, "weight_decay": 0.0},
    )
    told: list[str] = []
    trained = train(further, rings(64, 1), rings(40, 2), tmp_path, tell=told.append)
    assert any(f"encoder of {name}" in line and line.endswith("and its head") for line in told)
    for key, value in trained.network.named_parameters():
        torch.testing.assert_close(value, package.network.state_dict()[key], rtol=0, atol=1e-9)


def test_the_fingerprint_of_a_training_follows_the_weights_that_it_starts_from(tmp_path: Path):
    further = config(network={"architecture": "cnn", "arguments": {"width": 8}, "start": str(tmp_path / "before")})
    seen = set()
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        save_package(tmp_path / "before", card(), build("cnn", 7, {"width": 8}), UNFITTED)
        seen.add(training_fingerprint(further, rings(64, 1)))
    assert len(seen) == 2


def test_a_package_of_another_shape_cannot_be_trained_further(tmp_path: Path):
    wide = config(network={"architecture": "multiscale", "arguments": {"width": 16}, "start": "ground_multiscale"})
    with pytest.raises(ModelMismatch, match="take its encoder alone"):
        train(wide, rings(64, 1), rings(40, 2), tmp_path)
    with pytest.raises(ValueError, match=r"leave network\.encoder out"):
        config(network={"architecture": "cnn", "start": "a", "encoder": "b"})


def test_freezing_an_encoder_that_is_not_given_is_a_config_error():
    with pytest.raises(ValueError, match=r"network\.encoder, which is not given"):
        config(network={"architecture": "cnn", "frozen": "encoder"})


def test_every_step_has_a_seed_of_its_own():
    seeds = {fingerprint_seed(seed, step) for seed in range(20) for step in range(200)}
    assert len(seeds) == 4000
    assert all(0 <= seed < 2**63 for seed in seeds)


def few_lenses(n: int) -> Stamps:
    whole = rings(n, 1)
    return replace(whole, lens=np.arange(n) % 10 == 0)


def test_stratified_batches_have_the_same_number_of_lenses():
    stamps = few_lenses(200)
    stream = Stream(stamps, 30, seed=1, sampler=SamplerConfig(stratified=True))
    assert {int(stamps.lens[stream.rows(step)].sum()) for step in range(12)} == {3}
    assert not np.array_equal(stream.rows(0), stream.rows(6))


def test_a_class_balanced_stream_draws_as_many_lenses_as_others():
    stamps = few_lenses(200)
    stream = Stream(stamps, 200, seed=1, sampler=SamplerConfig(lens_share=0.5))
    assert stamps.lens[stream.rows(0)].sum() == pytest.approx(100, abs=1)


def test_a_batch_larger_than_the_stamps_comes_round_again():
    assert np.bincount(Stream(rings(10, 1), 25, seed=1).rows(3), minlength=10).min() == 2


def test_hard_negatives_are_the_highest_scored_non_lenses_and_take_the_place_of_easy_ones():
    stamps = few_lenses(200)
    config = MiningConfig(share=0.1, weight=5.0, sample=1000)

    def score(rows: np.ndarray) -> np.ndarray:
        return rows.astype(np.float32)

    factors = hard_factors(stamps, config, 1, 0, score)
    others = np.flatnonzero(~stamps.lens)
    assert np.flatnonzero(factors == 5).tolist() == others[-18:].tolist()
    assert (np.delete(factors, others[-18:]) == 1).all()
    scaled = class_factors(stamps, {}, factors, None)
    np.testing.assert_allclose(scaled[stamps.lens], 1)
    assert scaled[others].sum() == pytest.approx(180)
    assert scaled[others[-1]] == pytest.approx(5 * scaled[others[0]])
    few = MiningConfig(share=0.1, weight=5.0, sample=50)
    assert np.array_equal(hard_factors(stamps, few, 1, 2, score), hard_factors(stamps, few, 1, 2, score))
    assert not np.array_equal(hard_factors(stamps, few, 1, 2, score), hard_factors(stamps, few, 1, 3, score))
    assert (hard_factors(stamps, MiningConfig(), 1, 0, score) == 1).all()
