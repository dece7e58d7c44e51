"""Packages: what is written is read back, what is broken is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from pipeline.errors import ConfigError, ModelMismatch
from pipeline.models import build
from pipeline.models.calibration import Calibration
from pipeline.models.card import Metric, ModelCard, find_package, read_card
from pipeline.models.package import load_package
from pipeline.models.publish import save_package, to_toml, write_calibration
from tests import cards

CALIBRATION = Calibration(slope=1.3, offset=-0.2, prior=0.5, n_lenses=10, n_others=10, fitted_on="nothing real")


def card(**changes: object) -> ModelCard:
    values = {
        "output": 'log-odds of "lens"',
        "training": "not at all\nreally",
        "metrics": (Metric(name="auroc", value=0.5, low=0.4, high=0.6, sample="coin"),),
        "notes": ("é – untrained", "second"),
    }
    return cards.card(**{"name": "small", **values, **changes})


@pytest.fixture
def package(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    folder = tmp_path / "small"
    save_package(folder, card(), build("cnn", 7, {"width": 8}), CALIBRATION)
    return folder


def test_a_package_reads_back_as_written(package: Path):
    loaded = load_package(package)
    assert loaded.card == card()
    assert loaded.calibration == CALIBRATION
    torch.manual_seed(3)
    fresh = build("cnn", 7, {"width": 8}).eval()
    x = torch.randn(2, 7, 64, 64)
    assert torch.allclose(loaded.network(x), fresh(x), atol=1e-5)
    assert not loaded.network.training


def test_weights_can_take_half_the_room_and_are_read_back_to_three_digits(package: Path):
    fresh = load_package(package).network
    whole = (package / "weights.safetensors").stat().st_size
    fresh.head.out.bias.data.fill_(0.1)
    save_package(package, card(), fresh, CALIBRATION, storage=torch.float16)
    assert (package / "weights.safetensors").stat().st_size < 0.6 * whole
    loaded = load_package(package).network
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    assert loaded.head.out.bias.item() == pytest.approx(0.1, rel=1e-3)
    for name, value in fresh.named_buffers():
        assert torch.equal(value, dict(loaded.named_buffers())[name]), name
    for name, value in fresh.named_parameters():
        torch.testing.assert_close(dict(loaded.named_parameters())[name], value, rtol=1e-3, atol=1e-6)


def test_fingerprint_follows_weights_and_normalisation_but_not_words_or_calibration(package: Path):
    before = load_package(package).fingerprint()
    write_calibration(package, CALIBRATION.model_copy(update={"slope": 9.0}))
    text = (package / "model.toml").read_text(encoding="utf-8")
    (package / "model.toml").write_text(text.replace("second", "third"), encoding="utf-8")
    assert load_package(package).fingerprint() == before
    (package / "model.toml").write_text(text.replace("floor_sigma = 10.0", "floor_sigma = 11.0"), encoding="utf-8")
    assert load_package(package).fingerprint() != before
    save_package(package, card(), build("cnn", 7, {"width": 8}), CALIBRATION)
    assert load_package(package).fingerprint() != before


def test_damaged_weights_are_a_mismatch_that_names_the_file(package: Path):
    weights = package / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelMismatch, match=r"weights\.safetensors"):
        load_package(package)
    weights.unlink()
    with pytest.raises(ModelMismatch, match=r"weights\.safetensors"):
        load_package(package)


class Payload:
    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (Path("payload-was-run"),)


def test_weights_that_are_a_pickle_are_a_mismatch_and_never_loaded(package: Path):
    weights = package / "weights.safetensors"
    weights.write_bytes(pickle.dumps(Payload()))
    with pytest.raises(ModelMismatch, match=r"weights cannot be read .* fetch or train the package again"):
        load_package(package)
    torch.save({"weight": Payload()}, weights)
    with pytest.raises(ModelMismatch, match="weights cannot be read"):
        load_package(package)
    assert not Path("payload-was-run").exists()


def test_weights_that_are_not_finite_are_refused(package: Path):
    network = build("cnn", 7, {"width": 8})
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    save_package(package, card(), network, CALIBRATION)
    with pytest.raises(ModelMismatch, match="not finite"):
        load_package(package)


def test_weights_of_another_architecture_are_refused(package: Path):
    save_package(package, card(arguments={"width": 16}), build("cnn", 7, {"width": 8}), CALIBRATION)
    with pytest.raises(ModelMismatch, match="not weights of cnn"):
        load_package(package)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Bad-Name"}, "lower-case"),
        ({"units": "ADU"}, "nJy"),
        ({"pixel_scale": "-0.3 arcsec"}, "positive"),
        ({"pixel_scale": 0.3}, "with its unit"),
        ({"bands": ()}, "at least 1"),
    ],
)
def test_a_card_with_a_wrong_value_says_which(change: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        card(**change)


def test_a_misspelt_key_names_the_nearest(package: Path):
    path = package / "model.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("licence =", "license ="), encoding="utf-8")
    with pytest.raises(ConfigError, match='did you mean "licence"'):
        read_card(package)


def test_unknown_architecture_and_argument_are_config_errors():
    with pytest.raises(ConfigError, match=r"there are: .*cnn"):
        build("transformer", 7, {})
    with pytest.raises(ConfigError, match="depth"):
        build("cnn", 7, {"depth": 3})


def test_a_package_that_is_not_there_lists_the_shipped(tmp_path: Path):
    with pytest.raises(ConfigError, match="Shipped: "):
        find_package("nowhere", tmp_path)


def test_toml_text_survives_odd_strings_and_refuses_what_has_no_form():
    import tomllib

    values = {"a b": 'quote " and \\ and é\n', "t": {"x": [1, 2.5, True], "deep": [{"y": "z"}, {"y": "w"}]}}
    assert tomllib.loads(to_toml(values)) == values
    with pytest.raises(TypeError, match="no form"):
        to_toml({"a": object()})
