"""Losses by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.errors import ConfigError
from pipeline.train.config import MethodConfig
from pipeline.train.methods import Batch, build_method


class Fixed(nn.Module):
    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits


BATCH = Batch(torch.zeros(2, 1, 1, 1), torch.tensor([1.0, 0.0]))
P = 1 / (1 + torch.exp(torch.tensor(-2.0)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"loss": "bce"}, (-torch.log(P) - torch.log(1 - P)) / 2),
        ({"loss": "weighted", "positive_weight": 3.0}, (-3 * torch.log(P) - torch.log(1 - P)) / 2),
        ({"loss": "focal", "focal_gamma": 2.0}, (-torch.log(P) * (1 - P) ** 2 - torch.log(1 - P) * P**2) / 2),
    ],
)
def test_losses_by_hand(values: dict[str, object], expected: torch.Tensor):
    method = build_method(MethodConfig.model_validate({"smoothing": 0.0, **values}))
    losses = method.losses(Fixed([2.0, 2.0]), BATCH)
    assert list(losses) == [values["loss"]]
    assert losses[str(values["loss"])].item() == pytest.approx(expected.item(), rel=1e-5)


def test_an_unknown_method_lists_the_known():
    with pytest.raises(ConfigError, match="there are: supervised"):
        build_method(MethodConfig(name="telepathy"))
