"""The page in a browser: what axe finds, what it asks for, whether it fits a phone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.catalogue.report import write_report
from pipeline.catalogue.report_facts import CalibrationFacts, CalibrationFit
from pipeline.io import products
from pipeline.io.run_records import write_run_record
from tests.browser import DESKTOP, PHONE, NewPage
from tests.catalogue.test_report import stamp
from tests.catalogue.test_report_page import EVIL, footprints


@pytest.fixture
def report(tmp_path: Path, make_table: Callable[..., pa.Table], publish_field: Callable[..., None]) -> Path:
    """A page that has every section: drift, quarantine, notes, a run, pictures with outlines, a hostile name."""
    output, rng = tmp_path / "out", np.random.default_rng(2)
    ids = [f"field-{number:02d}" for number in range(9)] + ["a-name-that-is-far-too-long-for-a-phone-" * 3]
    for number, field_id in enumerate(ids):
        n = 300
        score = 10 ** (rng.normal(-4, 0.8, n) + (1.2 if number == 4 else 0)).clip(-7, -0.01)
        flags = list(np.where(rng.random(n) < 0.2, 1 << rng.integers(0, 9, n), 0))
        ra, dec = rng.uniform(9.9, 14, n), rng.uniform(-20.2, -19.8, n)
        table = make_table(field_id, list(range(n)), list(ra), list(dec), list(score), flags, members=("cnn", "vit"))
        publish_field(output, field_id, table, table.filter(pa.array(score > 0.01)))
    products.record_failure(output, EVIL, "masks", "0", EVIL, again=True)
    footprints(output, [*ids, EVIL, "not-begun"])
    generation = products.new_generation(output, "masks", ids[0], "m")
    told = {"rows": 0, "provenance": {"config": {"a": 1}}, "notes": ["seeing is taken as unknown"]}
    products.publish(output, field_id=ids[0], stage="masks", fingerprint="m", generation=generation, **told)
    write_run_record(output, "1", {"forecast": {"objects": 4321, "basis": "a guess"}, "actual": {"objects": 1234}})
    light = np.zeros((21, 21), np.float32)
    light[8:12, 8:12] = 1
    return write_report(
        output,
        tmp_path / "page.html",
        stamp=lambda *row: stamp(),
        maps=lambda stamps: [(light, np.roll(light, 5))] * len(stamps),
        calibration=CalibrationFacts("ground", (CalibrationFit("cnn", "beta", 0.01, 1, 2, "pool", 0.01, "others"),)),
    )


@pytest.mark.parametrize(("size", "dark"), [(DESKTOP, False), (DESKTOP, True), (PHONE, False), (PHONE, True)])
def test_axe_finds_nothing_and_the_page_is_no_wider_than_its_window(
    new_page: NewPage, report: Path, size: tuple[int, int], dark: bool
) -> None:
    watched = new_page(size, dark=dark)
    watched.page.goto(report.as_uri())
    sections = watched.page.eval_on_selector_all("section", "found => found.map(part => part.id)")
    assert {"quarantine", "coverage", "drift", "calibration", "artefacts", "last-run", "provenance"} <= set(sections)
    watched.page.eval_on_selector_all("details", "found => found.forEach(part => part.open = true)")
    assert watched.axe() == []
    assert watched.overflow() == 0


def test_the_page_asks_for_nothing_and_breaks_no_rule_of_its_own(new_page: NewPage, report: Path) -> None:
    watched = new_page()
    asked = []
    watched.page.on("dialog", lambda dialog: asked.append(dialog.message))
    watched.page.goto(report.as_uri())
    assert watched.errors == []
    assert [url for url in watched.requests if not url.startswith("data:")] == [report.as_uri()]
    assert asked == []
    pictures = watched.page.eval_on_selector_all("img", "found => found.every(part => part.naturalWidth > 0)")
    assert pictures


def test_its_own_policy_stops_a_script(new_page: NewPage, report: Path) -> None:
    """The policy is there: a script put into the file does not run."""
    text = report.read_text().replace("</main>", "<script>document.title = 'run'</script></main>")
    report.write_text(text)
    watched = new_page()
    watched.page.goto(report.as_uri())
    assert watched.page.title() != "run"
    assert any("Content Security Policy" in error for error in watched.errors)


def test_everything_that_scrolls_is_reached_by_keyboard(new_page: NewPage, report: Path) -> None:
    watched = new_page(PHONE)
    watched.page.goto(report.as_uri())
    unreached = watched.page.eval_on_selector_all(
        "*",
        "all => all.filter(part => part.scrollWidth > part.clientWidth + 1 && part.tabIndex < 0 && "
        "['auto', 'scroll'].includes(getComputedStyle(part).overflowX)).map(part => part.className)",
    )
    assert unreached == []
