"""Two views of a stamp among all others, by a loop over pairs; and what labels may train."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.models import build
from pipeline.train.method_config import ContrastiveConfig
from pipeline.train.methods import Batch, Context, build_method
from pipeline.train.methods.contrastive import nt_xent

CONFIG = ContrastiveConfig(name="contrastive", hidden=8, projection=4)


def cosine(one: list[float], other: list[float]) -> float:
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.hypot(*one) / math.hypot(*other)


def looped(first: list[list[float]], second: list[list[float]], temperature: float) -> float:
    """Chen et al. 2020, equation 1 and algorithm 1, written out."""
    views, m = [*first, *second], len(first)
    total = 0.0
    for i in range(2 * m):
        j = i + m if i < m else i - m
        others = sum(math.exp(cosine(views[i], views[k]) / temperature) for k in range(2 * m) if k != i)
        total -= math.log(math.exp(cosine(views[i], views[j]) / temperature) / others)
    return total / (2 * m)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
def test_the_loss_of_two_views_is_that_of_a_loop_over_all_pairs(temperature: float):
    torch.manual_seed(3)
    first, second = torch.randn(2, 7, 5, dtype=torch.float64).unbind()
    expected = looped(first.tolist(), second.tolist(), temperature)
    assert nt_xent(first, second, temperature).item() == pytest.approx(expected, rel=1e-9)


def test_views_that_cannot_be_told_apart_cost_the_logarithm_of_their_number():
    same = torch.ones(6, 3)
    assert nt_xent(same, same, 0.2).item() == pytest.approx(math.log(11), rel=1e-6)


def test_the_length_of_a_projection_does_not_count():
    torch.manual_seed(4)
    first, second = torch.randn(2, 5, 4).unbind()
    assert torch.allclose(nt_xent(first, second, 0.3), nt_xent(5 * first, 0.1 * second, 0.3), rtol=1e-5)


def trained_one_step(**labels: torch.Tensor) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Gradients of a network and of its last layer alone, by name, after the losses of one batch."""
    torch.manual_seed(1)
    network = build("resnet", 7, {"width": 8, "dropout": 0.0})
    method = build_method(CONFIG, channels=7, size=32)
    method.parameters(network)
    batch = Batch(torch.randn(4, 7, 32, 32), labels["labels"], (torch.randn(6, 7, 32, 32), torch.randn(6, 7, 32, 32)))
    average = build("resnet", 7, {"width": 8}).eval()
    torch.manual_seed(2)
    losses = method.losses(network, batch, Context(0, 10, average, torch.Generator()))
    sum(losses.values()).backward()
    gradients = {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}
    last = {name: value for name, value in gradients.items() if name.startswith("head.out.")}
    return {name: value for name, value in gradients.items() if name not in last}, last


def test_labels_train_the_last_layer_and_nothing_of_the_embedding():
    embedding, last = trained_one_step(labels=torch.tensor([0.0, 1.0, 0.0, 1.0]))
    turned, other = trained_one_step(labels=torch.tensor([1.0, 0.0, 1.0, 0.0]))
    assert embedding.keys() == turned.keys()
    assert all(torch.equal(embedding[name], turned[name]) for name in embedding)
    assert any(not torch.equal(last[name], other[name]) for name in last)


@pytest.mark.parametrize(("name", "arguments", "width"), [("vit", {"width": 24}, 24), ("hybrid", {"width": 8}, 32)])
def test_the_projection_becomes_as_wide_as_the_embedding(name: str, arguments: dict[str, int], width: int):
    network = build(name, 7, arguments)
    method = build_method(CONFIG, channels=7, size=32)
    before = {key: value.clone() for key, value in network.state_dict().items() if value.dtype.is_floating_point}
    method.parameters(network)
    assert method.companion is not None
    assert next(method.companion.parameters()).shape == (8, width)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items() if key in before)
