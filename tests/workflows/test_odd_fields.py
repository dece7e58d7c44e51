"""Fields whose masks or pixels are odd from end to end: told and flagged, and the scan goes on with the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from pipeline.flags import VetFlag
from workflows.cli import app

Edit = Callable[[Path, str, str], None]
SATURATED, UNKNOWN = 1 << 0, 1 << 9


def run(*arguments: object) -> tuple[int, dict[str, Any]]:
    answer = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    return answer.exit_code, json.loads(answer.stdout)


def scan(project: Path) -> tuple[int, dict[str, Any]]:
    return run("scan", project / "scan.toml", "--cluster", "serial")


def states(project: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in run("status", project / "scan.toml")[1]["fields"]:
        found.setdefault(row["field"], set()).add(row["state"])
    return found


def reason(project: Path, field: str) -> str:
    rows = run("status", project / "scan.toml")[1]["fields"]
    return next(row["reason"] for row in rows if row["field"] == field and row["reason"])


def rows(project: Path, field: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run("query", project / "out put", "--all", "--field", field)[1]["candidates"]
    return found


@pytest.fixture
def masked(project: Path, edit: Edit) -> Path:
    """The project with an integer mask plane of zeros for every field and band."""
    survey = project / "survey ü"
    for image in survey.glob("F?/F?-?.fits"):
        header = fits.getheader(image)
        fits.writeto(image.with_name(f"{image.stem}-mask.fits"), np.zeros(fits.getdata(image).shape, np.int16), header)
    with (survey / "survey.toml").open("a") as toml:
        toml.write('[planes.mask]\npath = "{field_id}/{field_id}-{native}-mask.fits"\nbits = { SATURATED = [0] }\n')
    return project


def change(
    project: Path, field: str, band: str, make: Callable[[np.ndarray], np.ndarray], plane: str = "-mask"
) -> Path:
    path = project / "survey ü" / field / f"{field}-{band}{plane}.fits"
    with fits.open(path) as hdus:
        data, header = np.array(hdus[0].data), hdus[0].header
    fits.writeto(path, make(data), header, overwrite=True)
    return path


def test_a_mask_that_flags_everything_leaves_an_empty_field_that_says_why(masked: Path) -> None:
    for band in "gri":
        change(masked, "F1", band, lambda mask: mask | SATURATED)
    code, done = scan(masked)
    assert (code, done["done"], done["empty"], done["failed"]) == (0, 2, 1, 0)
    assert any(note.startswith("F1: ") and "no usable pixel" in note for note in done["notes"])
    assert any("F1-g-mask.fits" in note and "100 % of band g" in note and "SATURATED" in note for note in done["notes"])
    assert not any(note.startswith(("F0: ", "F2: ")) for note in done["notes"])
    assert states(masked) == {"F0": {"done"}, "F1": {"empty"}, "F2": {"done"}}
    text = CliRunner().invoke(app, ["status", str(masked / "scan.toml")]).stdout.replace("\n", "")
    assert text.count("no usable pixel") == 1
    assert scan(masked)[1]["notes"] == done["notes"]


def test_a_mask_that_flags_all_of_one_band_quarantines_the_field_and_names_the_mask(masked: Path) -> None:
    change(masked, "F1", "r", lambda mask: mask | SATURATED)
    code, done = scan(masked)
    assert (code, done["done"], done["failed"]) == (1, 2, 1)
    assert "band r" in reason(masked, "F1")
    assert "F1-r-mask.fits [HDU 0]: flags 100 %" in reason(masked, "F1")


def test_where_a_survey_may_lack_bands_a_field_without_one_is_scanned_and_flagged(masked: Path, edit: Edit) -> None:
    edit(masked / "survey ü" / "survey.toml", "[planes.image]", '[fields]\nmissing_band = "empty"\n[planes.image]')
    for path in (masked / "survey ü" / "F0").glob("F0-g*"):
        path.unlink()
    change(masked, "F1", "r", lambda mask: mask | SATURATED)
    code, done = scan(masked)
    assert (code, done["done"], done["failed"]) == (0, 3, 0)
    for field in ("F0", "F1"):
        found = rows(masked, field)
        assert len(found) > 10
        assert all(row["vet_flags"] & VetFlag.MISSING_BAND for row in found)
        # One lost band leaves the others their score.
        assert any(row["score"] is not None for row in found)
    assert not any(row["vet_flags"] & VetFlag.MISSING_BAND for row in rows(masked, "F2"))
    assert {row["mag_g"] for row in rows(masked, "F0")} == {None}
    told = "\n".join(done["notes"])
    assert "F0: field F0: band g" in told
    assert "F1: field F1: band r" in told


def test_a_survey_without_weights_may_lack_a_band_too(project: Path, edit: Edit) -> None:
    toml = project / "survey ü" / "survey.toml"
    edit(toml, "[planes.image]", '[fields]\nmissing_band = "empty"\n[planes.image]')
    edit(toml, '[planes.ivar]\npath = "{field_id}/{field_id}-{native}-ivar.fits"\n', "")
    (project / "survey ü" / "F0" / "F0-i.fits").unlink()
    code, done = scan(project)
    assert (code, done["done"]) == (0, 3)
    assert all(row["vet_flags"] & VetFlag.MISSING_BAND for row in rows(project, "F0"))


@pytest.mark.parametrize(
    "make",
    [lambda mask: mask[:-3], lambda mask: mask[:, 5:], lambda mask: mask[:1, :1], lambda mask: np.stack([mask] * 2)],
)
def test_a_mask_of_another_shape_quarantines_its_field_and_names_both_files(
    masked: Path, make: Callable[[np.ndarray], np.ndarray]
) -> None:
    change(masked, "F2", "i", make)
    code, done = scan(masked)
    assert (code, done["done"], done["failed"]) == (1, 2, 1)
    assert "F2-i-mask.fits" in reason(masked, "F2")
    assert "shape" in reason(masked, "F2") or "two-dimensional" in reason(masked, "F2")


def test_unknown_bits_are_told_once_a_field_and_change_no_row(masked: Path) -> None:
    before = scan(masked)[1]
    assert before["notes"] == []
    plain = rows(masked, "F1")
    change(masked, "F1", "g", lambda mask: np.where(np.arange(mask.shape[1]) < 3, UNKNOWN, mask).astype(np.int16))
    code, done = scan(masked)
    assert code == 0
    (told,) = done["notes"]
    assert told.startswith("F1: ")
    assert "F1-g-mask.fits [HDU 0]: bits 9 (720 px)" in told
    assert rows(masked, "F1") == plain
    status = run("status", masked / "scan.toml")[1]["fields"]
    assert [(row["field"], row["stage"]) for row in status if row["notes"]] == [("F1", "masks")]


def test_a_field_that_is_all_artefact_is_flagged_and_the_others_are_what_they_were(masked: Path) -> None:
    scan(masked)
    others = {field: rows(masked, field) for field in ("F0", "F2")}
    rng = np.random.default_rng(2)
    for band in "gri":
        junk = np.where(rng.random((240, 240)) < 0.3, 5e4 * rng.random((240, 240)), 0).astype(np.float32)
        change(masked, "F1", band, lambda image, junk=junk: image + junk, "")
    code, done = scan(masked)
    assert (code, done["done"], done["failed"]) == (0, 3, 0)
    found = rows(masked, "F1")
    assert found
    assert np.mean([row["vet_flags"] != 0 or row["score"] is None for row in found]) > 0.95
    assert {field: rows(masked, field) for field in ("F0", "F2")} == others
