from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import config_root, expand, find, load, portable, shipped
from pipeline.errors import ConfigError
from pipeline.scan_config import ScanConfig, load_scan

GOOD = 'scan_id = "s"\nsurvey = "kids-viking"\noutput = "o"\nbands = ["g", "r"]\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "scan ü.toml"
    path.write_text(text, encoding="utf-8")
    return path


def message(folder: Path, text: str) -> str:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_scan(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_numbers_carry_their_unit_and_arrive_in_the_unit_of_their_meaning(tmp_path: Path) -> None:
    config, _ = load_scan(write(tmp_path, GOOD + 'memory = "1.5 Gbyte"\n[cutouts]\nsize = "0.5 arcmin"\n'))
    assert config.cutouts.size == pytest.approx(30.0)
    assert config.memory == pytest.approx(1500.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[cutouts]\nsise = 3\n", ["cutouts.sise", 'did you mean "size"']),
        ("ensembel = 'first'\n", ["ensembel", 'did you mean "ensemble"']),
        ("[cutouts]\nsize = 20\n", ["cutouts.size", "unit", "20"]),
        ("[cutouts]\nsize = '20 mag'\n", ["cutouts.size", "converts to arcsec", "20 mag"]),
        ("[cutouts]\nsize = '-20 arcsec'\n", ["cutouts.size", "positive", "-20 arcsec"]),
        ("[cutouts]\nsize = 'nan arcsec'\n", ["cutouts.size", "finite"]),
        ("[cutouts]\nsize = 'inf arcsec'\n", ["cutouts.size", "finite"]),
        ("[cutouts]\nshard = 120\n", ["multiple of chunk"]),
        ("[detect]\nthreshold = -1\n", ["detect.threshold", "-1"]),
        ("[detect]\nbands = ['z']\n", ["detect.bands"]),
        ("bands = ['g']\n", ["not valid TOML"]),
        ("[cutouts\n", ["not valid TOML", "line 5"]),
    ],
)
def test_a_wrong_value_names_file_key_and_value(tmp_path: Path, text: str, words: list[str]) -> None:
    said = message(tmp_path, GOOD + text)
    for word in words:
        assert word in said


def test_a_band_twice_and_a_bad_name_are_refused(tmp_path: Path) -> None:
    assert "band twice" in message(tmp_path, GOOD.replace('"r"', '"g"'))
    assert "scan_id" in message(tmp_path, GOOD.replace('"s"', '"../up"'))
    assert "bands" in message(tmp_path, GOOD.replace('["g", "r"]', "[]"))


def test_an_unset_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LENSSCAN_NOWHERE", raising=False)
    with pytest.raises(ConfigError, match="LENSSCAN_NOWHERE is not set"):
        expand({"a": ["x", "${LENSSCAN_NOWHERE}/b"]}, "file")
    monkeypatch.setenv("LENSSCAN_NOWHERE", "/there")
    assert expand({"a": ["${LENSSCAN_NOWHERE}/b", 1]}, "file") == {"a": ["/there/b", 1]}


def test_out_overrides_the_output_and_provenance_keeps_the_file_as_written(tmp_path: Path) -> None:
    config, raw = load_scan(write(tmp_path, GOOD), output="elsewhere")
    assert config.output == "elsewhere"
    assert raw["output"] == "o"


def test_a_reference_is_a_path_if_it_exists_else_a_shipped_name(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert find(path.name, "scans", tmp_path) == path
    assert find("local", "clusters") == config_root() / "clusters" / "local.toml"
    with pytest.raises(ConfigError, match='did you mean "local"'):
        find("locl", "clusters")


def test_a_shipped_config_is_named_to_other_machines_and_any_other_by_its_path(tmp_path: Path) -> None:
    assert portable(find("local", "clusters"), "clusters") == "local"
    assert portable(tmp_path / "local.toml", "clusters") == str(tmp_path / "local.toml")


@pytest.mark.parametrize("name", shipped("scans"))
def test_every_shipped_scan_is_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LENSSCAN_DATA", "data")
    assert load(ScanConfig, find(name, "scans")).bands
