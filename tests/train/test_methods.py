"""What each method asks of a batch, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from pipeline.errors import ConfigError
from pipeline.train.method_config import MethodConfig
from pipeline.train.methods import Batch, Context, Method, build_method
from pipeline.train.methods.adversarial import critic_loss, slope_penalty
from pipeline.train.methods.consistency import distance, worst_direction
from pipeline.train.methods.mixmatch import sharpen
from pipeline.train.methods.mixup import mixup
from pipeline.train.methods.pseudo_label import own_label_loss
from pipeline.train.methods.unlabelled import ramp, still_norms


class Mean(nn.Module):
    """Logit: the mean pixel times a weight of 1; the same in any mode."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2, 3)) * self.weight


def stamps(*logits: float) -> torch.Tensor:
    """Stamps to which `Mean` answers with these logits."""
    return torch.tensor(logits)[:, None, None, None].expand(-1, 1, 16, 16).contiguous()


def method(**values: object) -> Method:
    given = {"smoothing": 0.0, **values}
    return build_method(TypeAdapter(MethodConfig).validate_python(given), channels=1, size=16)


def context(step: int = 100, steps: int = 100, average: nn.Module | None = None) -> Context:
    return Context(step, steps, average or Mean(), torch.Generator().manual_seed(5))


def entropy(logit: float, label: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -label * math.log(p) - (1 - label) * math.log(1 - p)


LABELLED = Batch(stamps(2.0, 2.0), torch.tensor([1.0, 0.0]))
P = 1 / (1 + math.exp(-2.0))
LOWERED = P - 0.05


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"loss": "bce"}, (-math.log(P) - math.log(1 - P)) / 2),
        ({"loss": "weighted", "positive_weight": 3.0}, (-3 * math.log(P) - math.log(1 - P)) / 2),
        ({"loss": "focal", "focal_gamma": 2.0}, (-math.log(P) * (1 - P) ** 2 - math.log(1 - P) * P**2) / 2),
        (
            {"loss": "asymmetric", "gamma_lens": 1.0, "gamma_other": 4.0, "margin": 0.05},
            (-math.log(P) * (1 - P) - math.log(1 - LOWERED) * LOWERED**4) / 2,
        ),
        ({"loss": "bce", "smoothing": 0.1}, (entropy(2.0, 0.9) + entropy(2.0, 0.1)) / 2),
    ],
)
def test_losses_of_labels_by_hand(values: dict[str, object], expected: float):
    losses = method(name="supervised", **values).losses(Mean(), LABELLED, context())
    assert list(losses) == [values["loss"]]
    assert losses[str(values["loss"])].item() == pytest.approx(expected, rel=1e-5)


def test_an_easy_non_lens_costs_the_asymmetric_loss_nothing():
    batch = Batch(stamps(-4.0), torch.zeros(1))
    losses = method(name="supervised", loss="asymmetric", margin=0.05).losses(Mean(), batch, context())
    assert losses["asymmetric"].item() == 0


def test_a_mixture_is_mostly_itself_and_its_label_is_mixed_alike():
    values = torch.arange(64.0)
    mixed, labels = mixup(stamps(*values.tolist()), values / 64, 0.5, torch.Generator().manual_seed(1))
    torch.testing.assert_close(mixed[:, 0, 0, 0] / 64, labels)
    assert not torch.equal(labels, values / 64)
    # With a share of at least a half of itself, no label can have moved by more than half the range.
    assert (labels - values / 64).abs().max() <= 0.5
    assert labels.min() >= 0
    assert labels.max() <= 1


def test_an_unknown_method_or_another_methods_key_is_refused_by_the_config():
    with pytest.raises(ValidationError, match="'supervised', 'asymmetric'"):
        method(name="telepathy")
    with pytest.raises(ValidationError, match="threshold"):
        method(name="supervised", threshold=0.9)


def test_asymmetric_takes_unlabelled_stamps_for_non_lenses_at_its_weight():
    batch = Batch(LABELLED.channels, LABELLED.labels, (stamps(1.0, -1.0, 0.5),))
    losses = method(name="asymmetric", weight=0.5).losses(Mean(), batch, context())
    expected = 0.5 * (entropy(1.0, 0) + entropy(-1.0, 0) + entropy(0.5, 0)) / 3
    assert losses["taken_for_others"].item() == pytest.approx(expected, rel=1e-5)
    assert losses["bce"].item() == pytest.approx((entropy(2, 1) + entropy(2, 0)) / 2, rel=1e-5)


@pytest.mark.parametrize("target", ["pi-model", "mean-teacher"])
@pytest.mark.parametrize("kind", ["mse", "kl"])
def test_equal_answers_to_two_views_cost_nothing_and_others_their_distance(target: str, kind: str):
    consistency = method(name="consistency", target=target, distance=kind, weight=1.0)
    same = Batch(LABELLED.channels, LABELLED.labels, (stamps(0.3, -1.0), stamps(0.3, -1.0)))
    assert consistency.losses(Mean(), same, context())["consistency"].item() == pytest.approx(0, abs=1e-7)
    other = Batch(LABELLED.channels, LABELLED.labels, (stamps(0.3), stamps(-1.0)))
    loss = consistency.losses(Mean(), other, context())["consistency"].item()
    p, q = 1 / (1 + math.exp(-0.3)), 1 / (1 + math.exp(1.0))
    divergence = q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
    assert loss == pytest.approx((p - q) ** 2 if kind == "mse" else divergence, rel=1e-4)


def test_the_mean_teachers_target_is_the_averaged_network():
    teacher = Mean()
    teacher.weight.data.fill_(-1.0)
    batch = Batch(LABELLED.channels, LABELLED.labels, (stamps(1.0), stamps(1.0)))
    loss = method(name="consistency", target="mean-teacher", weight=1.0).losses(Mean(), batch, context(average=teacher))
    p, q = 1 / (1 + math.exp(-1.0)), 1 / (1 + math.exp(1.0))
    assert loss["consistency"].item() == pytest.approx((p - q) ** 2, rel=1e-4)


def test_no_gradient_flows_through_a_target():
    network = Mean()
    batch = Batch(LABELLED.channels, LABELLED.labels, (stamps(0.0), stamps(1.0)))
    method(name="consistency", target="pi-model").losses(network, batch, context())["consistency"].backward()
    # The look's logit is 0 whatever the weight; only a gradient through the target would be other than 0.
    assert network.weight.grad == 0


def test_the_worst_direction_is_the_gradients_and_of_unit_length():
    pull = torch.randn((1, 2, 4, 4), generator=torch.Generator().manual_seed(2))
    view, target = torch.zeros(3, 2, 4, 4), torch.zeros(3)

    def loss(moved: torch.Tensor) -> torch.Tensor:
        return distance((moved * pull).sum((1, 2, 3)), target, "kl")

    step = worst_direction(loss, view, probe=0.03, chance=torch.Generator().manual_seed(3))
    torch.testing.assert_close(step.square().mean((1, 2, 3)), torch.ones(3))
    along = (step * pull).flatten(1).sum(1) / (step.flatten(1).norm(dim=1) * pull.norm())
    torch.testing.assert_close(along.abs(), torch.ones(3))


def test_vat_moves_a_view_by_its_radius_and_compares_with_the_answer_before():
    vat = method(name="consistency", target="vat", radius=0.5, weight=1.0)
    loss = vat.losses(Mean(), Batch(LABELLED.channels, LABELLED.labels, (stamps(0.0),)), context())["consistency"]
    # The mean's gradient is the same at every pixel: the answer moves by the radius.
    assert loss.item() == pytest.approx((1 / (1 + math.exp(-0.5)) - 0.5) ** 2, rel=1e-3)


def test_a_pseudo_label_below_the_threshold_counts_nothing():
    sure, unsure = math.log(0.96 / 0.04), math.log(0.94 / 0.06)
    loss = own_label_loss(torch.tensor([sure, -sure, unsure, -unsure]), 0.95)
    assert loss.item() == pytest.approx(2 * entropy(sure, 1) / 4, rel=1e-5)


def test_sharpened_guesses_of_both_classes_sum_to_one_and_move_outwards():
    p = torch.tensor([0.0, 0.1, 0.5, 0.8, 1.0])
    torch.testing.assert_close(sharpen(p, 0.5) + sharpen(1 - p, 0.5), torch.ones(5))
    torch.testing.assert_close(sharpen(p, 0.5), torch.tensor([0.0, 0.01 / 0.82, 0.5, 0.64 / 0.68, 1.0]))
    torch.testing.assert_close(sharpen(p, 1.0), p)


def test_mixmatch_gives_all_views_of_a_stamp_one_guess():
    views = (stamps(2.0, -1.0), stamps(0.0, -3.0))
    guess = method(name="mixmatch", temperature=1.0)._guess(Mean(), torch.cat(views))  # type: ignore[attr-defined]
    p = torch.sigmoid(torch.tensor([2.0, -1.0, 0.0, -3.0])).reshape(2, 2).mean(0)
    torch.testing.assert_close(guess, torch.cat([p, p]))
    losses = method(name="mixmatch").losses(Mean(), Batch(LABELLED.channels, LABELLED.labels, views), context())
    assert set(losses) == {"bce", "guessed"}
    assert 0 <= losses["guessed"].item() <= 10


@pytest.mark.parametrize("slope", [0.5, 1.0, 3.0])
def test_the_slope_penalty_of_a_linear_critic_is_its_formula(slope: float):
    weights = torch.randn((1, 2, 4, 4), generator=torch.Generator().manual_seed(1))
    weights *= slope / weights.norm()
    real, made = torch.randn(5, 2, 4, 4), torch.randn(5, 2, 4, 4)

    def critic(x: torch.Tensor) -> torch.Tensor:
        return (x * weights).sum((1, 2, 3))

    assert slope_penalty(critic, real).item() == pytest.approx((slope - 1) ** 2, abs=1e-5)
    loss = critic_loss(critic, real, made, 10.0, torch.Generator().manual_seed(2))
    expected = critic(made).mean() - critic(real).mean() + 10 * (slope - 1) ** 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)


def test_critic_and_generator_each_learn_from_their_own_loss_alone():
    adversarial = method(name="adversarial", width=4, latent=8, start=0.0, share=0.5)
    gan = adversarial.companion
    batch = Batch(torch.randn(4, 1, 16, 16), torch.tensor([1.0, 1.0, 0.0, 1.0]))

    def reached(name: str) -> tuple[bool, bool, bool]:
        network = Mean()
        gan.zero_grad()
        adversarial.losses(network, batch, context(step=0))[name].backward()
        return tuple(  # type: ignore[return-value]
            any(parameter.grad is not None for parameter in part.parameters())
            for part in (network, gan.generator, gan.critic)
        )

    assert reached("critic") == (False, False, True)
    assert reached("generator") == (False, True, False)
    assert reached("bce") == (True, False, False)
    assert reached("generated") == (True, False, False)


def test_the_generator_moves_less_often_than_the_critic_and_waits_to_be_shown():
    adversarial = method(name="adversarial", width=4, latent=8, critic_steps=5, start=0.5)
    batch = Batch(torch.randn(4, 1, 16, 16), torch.tensor([1.0, 1.0, 0.0, 1.0]))
    told = {step: set(adversarial.losses(Mean(), batch, context(step=step))) for step in (0, 1, 50, 51)}
    assert told == {
        0: {"bce", "critic", "generator"},
        1: {"bce", "critic"},
        50: {"bce", "critic", "generator", "generated"},
        51: {"bce", "critic", "generated"},
    }
    none = Batch(batch.channels, torch.zeros(4))
    assert set(adversarial.losses(Mean(), none, context(step=0))) == {"bce"}


def test_a_generator_of_an_odd_size_is_a_config_error():
    with pytest.raises(ConfigError, match="multiple of 16 pixels, not 60"):
        build_method(TypeAdapter(MethodConfig).validate_python({"name": "adversarial"}), channels=7, size=60)


@pytest.mark.parametrize(
    ("method", "key"),
    [("few_shot", "loss"), ("few_shot", "mixup"), ("contrastive", "mixup"), ("mixmatch", "mixup"), ("elbo", "mixup")],
)
def test_what_a_method_would_not_read_is_refused(method: str, key: str):
    given = {"loss": "focal", "mixup": 0.2}[key]
    with pytest.raises(ValidationError, match=f"{key}\n.*not permitted"):
        TypeAdapter(MethodConfig).validate_python({"name": method, key: given})


def test_a_weight_rises_from_nearly_nothing_to_one_over_its_ramp():
    rising = [ramp(context(step=step), 0.4) for step in (0, 20, 40, 90)]
    np.testing.assert_allclose(rising, [math.exp(-5), math.exp(-5 / 4), 1, 1])
    assert ramp(context(step=0), 0.0) == 1


def test_a_targets_pass_leaves_the_running_means_alone():
    network = nn.Sequential(nn.BatchNorm2d(1)).train()
    with still_norms(network):
        network(torch.randn(4, 1, 3, 3) + 5)
    assert network[0].running_mean.item() == 0
    network(torch.randn(4, 1, 3, 3) + 5)
    assert network[0].running_mean.item() > 0.3
