"""The published networks of Wilde et al. 2022 as packages."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models import build
from pipeline.models.calibration import log_odds, sigmoid
from pipeline.models.ensemble import load_ensemble
from pipeline.models.normalisation import MinMaxConfig
from pipeline.models.ou_cnn import OuCnn, PairHead
from pipeline.models.ou_import import import_ou
from pipeline.models.package import load_package
from pipeline.scan.score import score_cutouts
from pipeline.scan_config import ScoreConfig

PUBLISHED = {
    "OU_200": (("J", "Y", "H", "VIS"), 200),
    "OU_66": (("J", "Y", "H", "VIS"), 66),
    "OU_VIS": (("VIS",), 200),
    "OU_J": (("J",), 66),
    "OU_Y": (("Y",), 66),
    "OU_H": (("H",), 66),
    "OU_JYH": (("J", "Y", "H"), 66),
}


@pytest.fixture
def published(real_data: Path) -> Path:
    folder = real_data / "wilde2022-weights"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there: no published weights")
    return folder


def plain_66(bands: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The smaller network written out layer by layer, as its authors' numbering has it."""
    torch.manual_seed(5)
    layers: list[nn.Module] = []
    before = bands
    for index, after in enumerate((50, 50, 50, 50, 40, 40, 40, 40, 30)):
        layers += [nn.Conv2d(before, after, 3), nn.ReLU()]
        if index in {0, 4, 8}:
            layers += [nn.MaxPool2d(2)]
        layers += [nn.Dropout(0.2)]
        before = after
    linear = nn.Sequential(nn.Linear(120, 500), nn.ReLU(), nn.Linear(500, 2))
    return nn.Sequential(*layers).eval(), linear.eval()


def write(path: Path, layers: nn.Module, linear: nn.Module, *, legacy: bool = True) -> Path:
    state = OrderedDict((f"layer.{name}", value) for name, value in layers.state_dict().items())
    state.update((f"fc_layer.{name}", value) for name, value in linear.state_dict().items())
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [True, False])
def test_an_imported_network_answers_as_the_plain_layers_do(tmp_path: Path, legacy: bool) -> None:
    layers, linear = plain_66(3)
    folder = import_ou(write(tmp_path / "OU_JYH_Weights.pt", layers, linear, legacy=legacy), tmp_path / "out")
    assert folder == tmp_path / "out" / "ou_jyh"
    package = load_package(folder)
    assert package.card.bands == ("J", "Y", "H")
    assert package.card.normalisation == MinMaxConfig(kind="min_max")
    assert (package.card.size_pix, package.card.pixel_scale) == (66, 0.3)
    assert (package.calibration.n_lenses, package.calibration.n_others) == (0, 0)
    assert "uncalibrated" in package.calibration.fitted_on
    x = torch.rand(4, 3, 66, 66)
    with torch.inference_mode():
        expected = torch.softmax(linear(layers(x).flatten(1)), dim=1)[:, 1]
        logits = package.network(x).numpy()
    np.testing.assert_allclose(sigmoid(log_odds(logits, package.calibration, 0.5)), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("net", sorted(PUBLISHED))
def test_published_weights_give_the_reference_logits(net: str, published: Path, tmp_path: Path) -> None:
    bands, size = PUBLISHED[net]
    package = load_package(import_ou(published / f"{net}_Weights.pt", tmp_path))
    assert package.card.bands == bands
    assert package.name == net.lower()
    reference = np.array(json.loads((published / "reference_logits.json").read_text())[net])
    x = torch.from_numpy(np.random.default_rng(20221).random((3, len(bands), size, size), dtype=np.float32))
    head = package.network.head
    assert isinstance(head, PairHead)
    with torch.inference_mode():
        pair = head.pair(package.network.embed(x)).numpy()
        logits = package.network(x).numpy()
    np.testing.assert_allclose(pair, reference, atol=1e-5)
    softmax = np.exp(reference) / np.exp(reference).sum(1, keepdims=True)
    scores = sigmoid(log_odds(logits, package.calibration, 0.5))
    np.testing.assert_allclose(scores, softmax[:, 1], atol=1e-5)


def test_a_scan_scores_with_an_imported_network_as_its_authors_scale_stamps(tmp_path: Path) -> None:
    layers, linear = plain_66(1)
    import_ou(write(tmp_path / "OU_H_Weights.pt", layers, linear), tmp_path)
    (tmp_path / "ou.toml").write_text('name = "ou"\ndescription = "one"\n[[members]]\npackage = "ou_h"\n')
    ensemble = load_ensemble(str(tmp_path / "ou.toml"))
    cutouts = np.random.default_rng(2).normal(5, 30, (3, 1, 66, 66)).astype(np.float32)
    config = ScoreConfig(batch=4, device="cpu", dtype="float32")
    logits = score_cutouts(cutouts, None, None, pixel_scale=0.3, bands=("H",), ensemble=ensemble, config=config)
    low, high = cutouts.min((2, 3), keepdims=True), cutouts.max((2, 3), keepdims=True)
    with torch.inference_mode():
        pair = linear(layers(torch.from_numpy((cutouts - low) / (high - low))).flatten(1)).numpy()
    np.testing.assert_allclose(logits[:, 0], pair[:, 1] - pair[:, 0], atol=1e-5)


class Calls:
    """Pickles into a call of `print`, which a loader of pickles would make."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("this pickle has run",)


def test_a_pickle_that_calls_something_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = tmp_path / "evil.pt"
    torch.save({"layer.0.weight": Calls()}, evil)
    bare = tmp_path / "bare.pt"
    bare.write_bytes(pickle.dumps(Calls(), protocol=2))
    for path in (evil, bare):
        with pytest.raises(ModelMismatch, match="refused"):
            import_ou(path, tmp_path / "out")
    assert "has run" not in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def spoilt() -> Iterator[tuple[str, dict[str, torch.Tensor] | list[int], str]]:
    layers, linear = plain_66(1)
    state = {f"layer.{name}": value for name, value in layers.state_dict().items()}
    state |= {f"fc_layer.{name}": value for name, value in linear.state_dict().items()}
    yield "a list", [1, 2], "not a dictionary of tensors"
    yield "another network", {"conv.weight": torch.zeros(3)}, "fc_layer.0.weight is none"
    yield "other sizes", state | {"fc_layer.0.weight": torch.zeros(10, 11)}, r"\(10, 11\)"
    yield "an extra key", state | {"extra.weight": torch.zeros(3)}, "extra.weight"
    yield "other kernels", state | {"layer.4.weight": torch.zeros(50, 50, 5, 5)}, "size mismatch"
    yield "no convolution", {key: value for key, value in state.items() if key != "layer.0.weight"}, "no convolution"
    yield "a layer short", {key: value for key, value in state.items() if key != "layer.4.bias"}, "Missing key"


@pytest.mark.parametrize(("content", "message"), [pytest.param(c, m, id=name) for name, c, m in spoilt()])
def test_what_is_not_one_of_the_networks_is_a_mismatch(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "OU_J_Weights.pt"
    torch.save(content, path)
    with pytest.raises(ModelMismatch, match=message):
        import_ou(path, tmp_path / "out")


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    whole = write(tmp_path / "OU_J_Weights.pt", *plain_66(1), legacy=False)
    whole.write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(ModelMismatch, match=r"OU_J_Weights\.pt"):
        import_ou(whole, tmp_path)
    (tmp_path / "empty.pt").touch()
    with pytest.raises(ModelMismatch, match=r"empty\.pt"):
        import_ou(tmp_path / "empty.pt", tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        import_ou(tmp_path / "nowhere.pt", tmp_path)


def test_bands_come_from_the_name_or_from_whoever_asks(tmp_path: Path) -> None:
    layers, linear = plain_66(1)
    named = write(tmp_path / "OU_Y_Weights.pt", layers, linear)
    assert load_package(import_ou(named, tmp_path)).card.bands == ("Y",)
    unnamed = write(tmp_path / "mine.pt", layers, linear)
    with pytest.raises(ConfigError, match="name them"):
        import_ou(unnamed, tmp_path)
    with pytest.raises(ConfigError, match="1 bands, not 2"):
        import_ou(unnamed, tmp_path, bands=("Y", "J"))
    with pytest.raises(ConfigError, match="another name"):
        import_ou(unnamed, tmp_path, bands=("H",), name="Bad-Name")
    assert load_package(import_ou(unnamed, tmp_path, bands=("H",), name="my_h")).card.bands == ("H",)


def test_stamps_of_another_size_are_refused_by_name() -> None:
    with pytest.raises(ModelMismatch, match="64 x 64 px"):
        OuCnn(1).eval()(torch.zeros(1, 1, 64, 64))
    with pytest.raises(ConfigError, match="66 or 200"):
        build("ou_cnn", 1, {"size": 100})
