"""Episodes and prototypes by hand, and the support set that a training ends with."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.models import build
from pipeline.models.support import support_of
from pipeline.train.held import Stamps
from pipeline.train.method_config import FewShotConfig
from pipeline.train.methods import Batch, Context, build_method
from pipeline.train.methods.few_shot import episode, prototype_loss


def config(**values: object) -> FewShotConfig:
    return FewShotConfig.model_validate({"name": "few_shot", "ways": 3, "shots": 2, "queries": 4, **values})


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_the_loss_of_an_episode_by_hand():
    examples = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [0.0, 6.0]])  # means (1, 0) and (0, 5)
    queries = torch.tensor([[1.0, 1.0], [0.0, 5.0]])
    first, second = (1.0, 17.0), (26.0, 0.0)  # squared distances of either query
    expected = [
        -math.log(math.exp(-first[0] / 2) / (math.exp(-first[0] / 2) + math.exp(-first[1] / 2))),
        -math.log(math.exp(-second[1] / 2) / (math.exp(-second[0] / 2) + math.exp(-second[1] / 2))),
    ]
    found = prototype_loss(examples, queries, 2, temperature=2.0).item()
    assert found == pytest.approx(sum(expected) / 2, rel=1e-4)


def test_an_episode_has_the_examples_of_each_kind_first_and_shows_no_stamp_twice():
    kinds = torch.tensor([0] * 7 + [1] * 5 + [2] * 9 + [3] * 2)
    rows, ways = episode(kinds, config(), chance())
    assert ways == 3
    assert len(set(rows.tolist())) == len(rows) == 3 * (2 + 3)  # the rarest of the able kinds has three to ask about
    shown, asked = kinds[rows[:6]].view(3, 2), kinds[rows[6:]].view(3, 3)
    assert (shown == shown[:, :1]).all()
    assert torch.equal(asked, shown[:, :1].expand(3, 3))
    assert 3 not in kinds[rows].tolist()


def test_a_batch_with_too_few_of_every_kind_is_refused():
    with pytest.raises(ConfigError, match="fewer than two kinds have more than 2 stamps"):
        episode(torch.tensor([0, 0, 0, 1, 1, 2]), config(), chance())


@pytest.mark.parametrize("lenses", ["apart", "with"])
def test_lenses_are_in_an_episode_only_if_asked_for(lenses: str):
    torch.manual_seed(2)
    network = build("resnet", 7, {"width": 8, "support": 4})
    method = build_method(config(lenses=lenses), channels=7, size=32)
    kinds = torch.arange(3).repeat_interleave(4)
    channels = torch.randn(12, 7, 32, 32, requires_grad=True)
    batch = Batch(channels, (kinds == 0).float(), kinds=kinds)
    method.losses(network, batch, Context(0, 10, network, chance()))["episode"].backward()
    assert channels.grad is not None
    assert channels.grad[kinds == 0].any().item() == (lenses == "with")
    assert channels.grad[kinds != 0].any()


def test_a_network_without_a_support_set_is_refused():
    with pytest.raises(ConfigError, match="a support set: network"):
        build_method(config(), channels=7, size=32).parameters(build("resnet", 7, {"width": 8}))


def test_a_training_ends_with_the_means_of_some_stamps_of_every_kind_and_of_a_few_lenses():
    kind = np.array(["lens"] * 6 + ["a"] * 8 + ["b"] * 3)
    rng = np.random.default_rng(4)
    embedding = rng.normal(0, 1, (17, 64)).astype(np.float32)
    stamps = Stamps(
        image=np.zeros((17, 1, 8, 8), np.float32),
        flagged=np.zeros((17, 1, 8, 1), np.uint8),
        lens=kind == "lens",
        kind=kind,
        bands=("r",),
        pixel_scale=0.3,
        digest="",
    )
    network = build("resnet", 3, {"width": 8, "support": 5}).eval()
    asked: list[np.ndarray] = []

    def embed(rows: np.ndarray) -> np.ndarray:
        asked.append(rows)
        return embedding[rows]

    build_method(config(metric="euclidean", most=5), channels=3, size=8).settle(network, embed, stamps)
    head = support_of(network)
    assert head.counts.tolist() == [5, 3, 2, 0, 0]  # of a and b, and two shots
    assert head.rare.tolist() == [0, 0, 1, 0, 0]
    lenses = [row for row in asked[0] if kind[row] == "lens"]
    rare = (embedding[lenses].mean(axis=0) - head.centre.numpy()).astype(np.float32)
    assert head.prototypes[2].numpy() == pytest.approx(rare, abs=1e-5)


def test_a_linear_layer_tells_all_kinds_beside_the_episode():
    torch.manual_seed(2)
    network = build("resnet", 7, {"width": 8, "support": 4})
    method = build_method(config(classes=4, class_weight=2.0), channels=7, size=32)
    method.parameters(network)
    kinds = torch.arange(4).repeat_interleave(4)
    batch = Batch(torch.randn(16, 7, 32, 32), (kinds == 0).float(), kinds=kinds)
    network.eval()
    losses = method.losses(network, batch, Context(0, 10, network, chance()))
    assert method.companion is not None
    probability = method.companion(network.embed(batch.channels)).softmax(1)
    expected = -sum(math.log(probability[row, kinds[row]].item()) for row in range(4, 16)) / 12  # no lens among them
    assert losses["kind"].item() == pytest.approx(2.0 * expected, rel=1e-4)
    plain = build_method(config(), channels=7, size=32).losses(network, batch, Context(0, 10, network, chance()))
    assert losses["episode"].item() == pytest.approx(plain["episode"].item(), rel=1e-4)


def test_more_kinds_than_classes_are_refused():
    network = build("resnet", 7, {"width": 8, "support": 4})
    method = build_method(config(classes=2), channels=7, size=32)
    method.parameters(network)
    kinds = torch.arange(4).repeat_interleave(4)
    with pytest.raises(ConfigError, match="a stamp is of kind 4"):
        method.losses(
            network,
            Batch(torch.randn(16, 7, 32, 32), torch.zeros(16), kinds=kinds),
            Context(0, 10, network, chance()),
        )
