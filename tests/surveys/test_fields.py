"""The list of a survey's fields: what is kept of each is little, and what comes out of it whole."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from pipeline.surveys import Survey, open_survey

SURVEY = """
name = "s"
release = "1"
root = "data"
zero_point = [{ magnitude = "22.5 mag" }]
[bands]
g = ["gp", "g"]
r = "r"
[fields]
id = "{tract}-{patch}"
[planes.image]
path = "IMAGE"
[planes.mask]
path = "masks/{tract}/{patch:.2}_{band}.fits"
bits = { SATURATED = [1] }
"""


def write(root: Path, names: list[str], image: str) -> Survey:
    for name in names:
        path = root / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (root / "survey.toml").write_text(SURVEY.replace("IMAGE", image), encoding="utf-8")
    return open_survey(root / "survey.toml")


def test_a_field_is_put_together_from_its_keys_and_the_first_native_name_that_is_there(tmp_path: Path) -> None:
    survey = write(
        tmp_path, ["7/ab1_g.fits", "7/ab1_r.fits", "12/cd1_gp.fits", "12/cd1_r.fits"], "{tract}/{patch}_{native}.fits"
    )
    fields = survey.fields()
    assert fields.ids == ["12-cd1", "7-ab1"] == [field.field_id for field in fields]
    data = tmp_path / "data"
    assert fields[1].planes == {
        "g": {"image": f"{data}/7/ab1_g.fits", "mask": f"{data}/masks/7/ab_g.fits"},
        "r": {"image": f"{data}/7/ab1_r.fits", "mask": f"{data}/masks/7/ab_r.fits"},
    }
    assert fields[0].planes["g"]["image"] == f"{data}/12/cd1_gp.fits"
    assert fields[0:2] == [fields[0], fields[1]] == list(fields)
    assert [fields.number(name) for name in ("12-cd1", "7-ab1", "7-ab2", "0")] == [0, 1, None, None]


def test_paths_are_written_as_paths_are_however_odd_the_template(tmp_path: Path) -> None:
    names = ["x/7/ab1_g.fits", "x/7/ab1_r.fits"]
    plain = write(tmp_path, names, "x/{tract}/{patch}_{native}.fits").fields()[0]
    assert write(tmp_path, names, "?/{tract}/{patch}_{native}.f*ts").fields()[0] == plain
    toml = tmp_path / "survey.toml"
    toml.write_text(toml.read_text(encoding="utf-8").replace('"masks/', '"./masks//./'), encoding="utf-8")
    assert open_survey(toml).fields()[0] == plain
    toml.write_text(toml.read_text(encoding="utf-8").replace('"./masks//./', '"/elsewhere/'), encoding="utf-8")
    assert open_survey(toml).fields()[0].planes["g"]["mask"] == "/elsewhere/7/ab_g.fits"


def test_a_field_takes_a_few_hundred_bytes_whatever_its_paths(tmp_path: Path) -> None:
    deep = "a-folder-with-a-long-name/another-one-below-it/{tract}/{patch}_{native}.fits"
    names = [
        deep.format(tract=number // 100, patch=f"p{number % 100:02d}", native=native)
        for number in range(2000)
        for native in "gr"
    ]
    survey = write(tmp_path, names, deep)
    tracemalloc.start()
    try:
        fields = survey.fields()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(fields) == 2000
    paths = sum(len(path) for field in fields for planes in field.planes.values() for path in planes.values())
    assert taken / 2000 < 300 < paths / 2000
