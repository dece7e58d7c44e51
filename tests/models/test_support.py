"""A head that answers by likeness to examples: prototypes by hand, and through a package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models import build
from pipeline.models.onnx_session import onnx_run
from pipeline.models.package import load_package
from pipeline.models.publish import save_package
from pipeline.models.support import SupportHead, support_of, with_support
from pipeline.models.support_fit import clusters, fit_support
from pipeline.models.transformer import TokenHead
from tests.cards import UNFITTED, card

# Two kinds of others about (0, 0) and (4, 0), each with a scatter of 1 along either axis; two examples of a rare kind.
OTHERS = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [5, 0], [3, 0], [4, 1], [4, -1]], dtype=float)
RARE = np.array([[0, 6], [2, 6]], dtype=float)
EMBEDDING = np.concatenate([OTHERS, RARE])
KINDS = np.array(["a"] * 4 + ["b"] * 4 + ["new"] * 2)
IS_RARE = KINDS == "new"


def head_of(prototypes: int = 3, width: int = 2, metric: str = "euclidean") -> SupportHead:
    head = SupportHead(TokenHead(width, 0.0), prototypes)
    fit_support(head, EMBEDDING, KINDS, IS_RARE, metric=metric)
    return head


def test_prototypes_are_the_means_of_the_kinds_and_the_scale_is_the_scatter_about_them():
    head = head_of()
    assert torch.allclose(head.centre, torch.tensor([2.0, 0.0]))
    assert torch.allclose(head.prototypes, torch.tensor([[-2.0, 0.0], [2.0, 0.0], [-1.0, 6.0]]))
    assert head.counts.tolist() == [4, 4, 2]
    assert head.rare.tolist() == [0, 0, 1]
    assert torch.allclose(head.weights, torch.tensor([0.5, 0.5, 1.0]))
    assert head.scale.item() == pytest.approx(1.0)


def test_the_logit_is_the_log_ratio_of_normal_distributions_about_the_prototypes():
    head = head_of()
    asked = np.array([[0.0, 0.0], [1.0, 6.0], [2.0, 3.0]])
    variance = 1.0 / 2  # of each of the two axes, where the scatter of both together is 1
    expected = []
    for stamp in asked:
        apart = [np.sum((stamp - mean) ** 2) for mean in ([0, 0], [4, 0], [1, 6])]
        likely = [np.exp(-d / (2 * variance)) for d in apart]
        expected.append(np.log(likely[2]) - np.log(0.5 * likely[0] + 0.5 * likely[1]))
    assert head.classify(torch.from_numpy(asked).float()).numpy() == pytest.approx(expected, rel=1e-4)


def test_stamps_far_from_every_prototype_keep_their_order():
    head = head_of()
    far = np.array([[1.0, 3000.0], [1.0, 4000.0]])
    expected = []
    for stamp in far:
        apart = [np.sum((stamp - mean) ** 2) for mean in ([0, 0], [4, 0], [1, 6])]
        expected.append(-apart[2] + np.log(2) - np.logaddexp(-apart[0], -apart[1]))  # variances are a half
    assert head.classify(torch.from_numpy(far).float()).numpy() == pytest.approx(expected, rel=1e-3)


def test_a_network_that_computes_in_half_takes_distances_in_full():
    head = head_of(metric="whitened")
    asked = torch.from_numpy(np.random.default_rng(3).normal(0, 100, (20, 2))).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = head.classify(asked)
    assert torch.equal(found, head.classify(asked))


def test_room_that_is_left_over_changes_nothing():
    asked = torch.randn(5, 2)
    assert torch.allclose(head_of(3).classify(asked), head_of(9).classify(asked), atol=1e-4)


def test_a_whitened_metric_does_not_care_about_the_units_of_the_embedding():
    rng = np.random.default_rng(1)
    others, rare = rng.normal(0, 1, (4000, 2)), rng.normal(2, 1, (5, 2))
    asked = rng.normal(0, 2, (6, 2))
    answers = []
    for units in (np.array([1.0, 1.0]), np.array([3.0, 0.5])):
        head = SupportHead(TokenHead(2, 0.0), 2)
        kinds = np.array(["other"] * 4000 + ["new"] * 5)
        fit_support(head, np.concatenate([others, rare]) * units, kinds, kinds == "new", metric="whitened")
        answers.append(head.classify(torch.from_numpy(asked * units).float()).numpy())
    assert answers[0] == pytest.approx(answers[1], rel=0.05, abs=0.05)


@pytest.mark.parametrize("rare", [np.zeros(10, bool), np.ones(10, bool)], ids=["no rare one", "no other"])
def test_a_support_set_of_one_side_is_refused(rare: np.ndarray):
    with pytest.raises(ConfigError, match="both sides"):
        fit_support(SupportHead(TokenHead(2, 0.0), 3), EMBEDDING, KINDS, rare)


def test_more_kinds_than_there_is_room_for_are_refused():
    with pytest.raises(ConfigError, match="3 kinds in a support set with room for 2"):
        head_of(2)


def test_an_embedding_that_is_not_finite_is_refused():
    with pytest.raises(ConfigError, match="not finite"):
        fit_support(SupportHead(TokenHead(2, 0.0), 3), np.where(EMBEDDING == 5, np.nan, EMBEDDING), KINDS, IS_RARE)


def test_clusters_are_those_that_everyone_sees():
    rng = np.random.default_rng(2)
    truth = np.repeat([0, 1, 2], 50)
    values = np.array([[0.0, 0.0], [30.0, 0.0], [0.0, 30.0]])[truth] + rng.normal(0, 1, (150, 2))
    found = clusters(values, 3, seed=0)
    assert len({(a, b) for a, b in zip(truth.tolist(), found.tolist(), strict=True)}) == 3
    assert len(np.unique(found)) == 3


def test_more_clusters_than_examples_leave_some_without_any():
    assert set(clusters(np.arange(6.0).reshape(3, 2), 8).tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("architecture", ["resnet", "vit", "hybrid", "cnn"])
def test_a_support_set_travels_in_the_weights_of_a_package(architecture: str, tmp_path: Path):
    torch.manual_seed(3)
    network = build(architecture, 7, {"support": 4}).eval()
    x = torch.randn(12, 7, 32, 32)
    with torch.inference_mode():
        embedding = network.embed(x).numpy()
    kinds = np.array(["new"] * 2 + ["a"] * 5 + ["b"] * 5)
    fit_support(support_of(network), embedding, kinds, kinds == "new")
    own = card(architecture=architecture, arguments={"support": 4}, size_pix=32)
    save_package(tmp_path, own, network, UNFITTED)
    with torch.inference_mode():
        expected, found = network(x), load_package(tmp_path).network(x)
    assert torch.allclose(found, expected, atol=1e-4)
    assert expected[:2].min() > expected[2:].max()


def test_onnxruntime_answers_by_the_support_set_too():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: ./install.sh onnx")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: ./install.sh onnx")
    torch.manual_seed(5)
    network = build("cnn", 7, {"support": 3, "width": 8}).eval()
    x = torch.randn(4, 7, 32, 32)
    with torch.no_grad():
        embedding = network.embed(torch.randn(20, 7, 32, 32)).numpy()
        kinds = np.array(["new"] * 3 + ["a"] * 9 + ["b"] * 8)
        fit_support(support_of(network), embedding, kinds, kinds == "new")
        expected = network(x)
    torch.testing.assert_close(onnx_run(network, tuple(x.shape), 1)(x)[1], expected, atol=1e-3, rtol=1e-3)


def test_a_new_support_set_takes_the_place_of_the_one_before_and_keeps_the_embedding():
    network = build("resnet", 7, {"width": 8, "support": 4}).eval()
    x = torch.randn(2, 7, 32, 32)
    with torch.inference_mode():
        before = network.embed(x)
        after = with_support(network, 9).eval().embed(x)
    assert torch.equal(before, after)
    assert len(support_of(network).counts) == 9
    assert not any("inner.inner" in name for name in network.state_dict())


def test_a_network_without_one_says_how_it_gets_one():
    with pytest.raises(ModelMismatch, match="has no support set"):
        support_of(build("cnn", 7, {}))


@pytest.mark.parametrize("support", [2.5, True, -1])
def test_a_support_that_is_no_number_of_prototypes_is_refused(support: object):
    with pytest.raises(ConfigError, match="support"):
        build("cnn", 7, {"support": support})


def test_a_head_that_does_not_say_how_long_its_embedding_is_takes_no_support():
    with pytest.raises(ConfigError, match="takes no support"):
        build("ou_cnn", 4, {"size": 66, "support": 3})
