"""Configs of simulations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from pydantic import BaseModel

from pipeline.config import config_root, shipped
from pipeline.errors import ConfigError
from pipeline.sims.config.injection import InjectionConfig
from pipeline.sims.config.load import load_sims
from pipeline.sims.config.sky import SkyConfig
from pipeline.sims.config.stamps import SimsConfig
from pipeline.sims.population.galaxies import star_colours


@pytest.mark.parametrize("name", [name for name in shipped("sims") if name != "population"])
def test_shipped_configs_are_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENSSCAN_DATA", "/data")
    assert isinstance(load_sims(name), SimsConfig | SkyConfig | InjectionConfig)


def changed(tmp_path: Path, name: str, old: str, new: str) -> Path:
    text = (config_root() / "sims" / f"{name}.toml").read_text()
    assert old in text
    path = tmp_path / "config.toml"
    path.write_text(text.replace(old, new).replace('"population.toml"', '"population"'))
    return path


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("stamps", 'kind = "stamps"', 'kind = "stamp"', "kind is 'stamp'"),
        ("stamps", 'bands = ["g", "r", "i"]', 'bands = ["g", "r", "K"]', "bands are one or more of g, r, i, z"),
        ("stamps", 'detection_band = "r"', 'detection_band = "z"', "detection_band 'z'"),
        ("stamps", "companion = 5.0", "companions = 5.0", "companions unknown"),
        ("stamps", "moffat_beta = [2.5, 4.5]", "moffat_beta = [4.5, 2.5]", "lower end"),
        ("stamps", 'pixel_scale = "0.3 arcsec"', "pixel_scale = 0.3", "needs a number with its unit"),
        ("stamps", "lens_share = 0.5", "lens_shares = 0.5", 'did you mean "lens_share"'),
        ("demo-sky", "overlap = 120", "overlap = 700", "more than half"),
        ("demo-sky", 'i = "0.78 arcsec"', 'z = "0.78 arcsec"', "no seeing for band i"),
        ("demo-sky", "trail = 2", "trails = 2", "trails unknown"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, name: str, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        load_sims(changed(tmp_path, name, old, new))


def test_population_of_a_file_can_be_changed_in_places() -> None:
    plain, faint = load_sims("demo-sky").population, load_sims("faint-negatives").population
    assert faint.galaxies.central_magnitude == (20.5, 24.8)
    assert faint.galaxies.density == plain.galaxies.density
    assert faint.lenses == plain.lenses


def test_wrong_key_in_a_change_of_the_population_is_named(tmp_path: Path) -> None:
    path = changed(tmp_path, "faint-negatives", "deflector_like_share", "deflector_share")
    with pytest.raises(ConfigError, match="deflector_share"):
        load_sims(path)


def test_population_without_a_file_is_an_error(tmp_path: Path) -> None:
    path = changed(tmp_path, "demo-sky", 'population = "population.toml"', "population = 3")
    with pytest.raises(ConfigError, match="population needs a file"):
        load_sims(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("slope = [1.7, 2.4]", "slope = [0.9, 2.4]", "inside 1 to 3"),
        ('theta_E_drawn = "log_normal"', 'theta_E_drawn = "natural"', "from_dispersion"),
        ('limit = "330 km/s"', 'limit = "330 km"', "converts to km/s"),
        ("redshift = [0.0, 0.1, 0.2,", "redshift = [0.0, 0.2,", "one value for each redshift"),
        ("median = 1.6", "median = 9.0", "outside range"),
        ("numbers = [0.8, 0.2]", "numbers = []", "at least 1 item"),
        ("hubble =", "hubbel =", 'did you mean "hubble"'),
    ],
)
def test_wrong_populations_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (config_root() / "sims" / "population.toml").read_text()
    assert old in text
    (tmp_path / "own.toml").write_text(text.replace(old, new))
    path = changed(tmp_path, "demo-sky", '"population.toml"', '"own.toml"')
    with pytest.raises(ConfigError, match=message):
        load_sims(path)


def _with_default(model: BaseModel, where: str = "") -> Iterator[tuple[str, object, object]]:
    """Name, value and default of every field that has one."""
    for name, about in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _with_default(value, f"{where}{name}.")
        elif not about.is_required():
            yield f"{where}{name}", value, about.get_default(call_default_factory=True)


def test_what_a_population_may_leave_out_is_as_shipped() -> None:
    config = load_sims("stamps")
    assert isinstance(config, SimsConfig)
    told = list(_with_default(config.population))
    assert {"stars.bend", "artefacts.halo_from", "negatives.merger.tail_turn"} <= {name for name, _, _ in told}
    for name, value, default in told:
        assert value == (_plain(default) if isinstance(default, str) else default), name


def _plain(text: str) -> float:
    """A number with its unit, in magnitudes or degrees."""
    quantity = u.Quantity(text)
    return float(quantity.to_value(u.mag if quantity.unit == u.mag else u.deg))


def test_stars_beyond_the_bend_redden_in_r_i_alone() -> None:
    config = load_sims("stamps")
    assert isinstance(config, SimsConfig)
    stars = config.population.stars.model_copy(update={"bend": 0.5, "beyond_bend": 0.0})
    colours = np.array([star_colours(np.random.default_rng(seed), stars) for seed in range(200)])
    assert colours[:, 0].max() == pytest.approx(np.mean(stars.g_r))
    assert colours[:, 1].max() > 0.9 * stars.r_i[1]
