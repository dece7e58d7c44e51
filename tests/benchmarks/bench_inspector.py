"""How fast the inspector's page is over 10,000 candidates, in Chromium, and whether it loses a grade.

    python -m tests.benchmarks.bench_inspector [--candidates 10000] [--folder DIR] [--grades 600]

A scan of 64 x 64 pixel stamps in three bands is made (once, where DIR is given), and served by the command. Measured
are: the first mosaic, from asking for the address to pictures on the screen, by a visitor who has given a name before;
the next page, from the key to the pictures, at a reader's pace of a second a page and as fast as they come; grades by
keyboard in the single view, as fast as pictures come, while the server is killed twice and started again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.browser import ARGUMENTS, CHROMIUM, DESKTOP
from tests.inspector.made_scan import made_scan
from tests.inspector.serving import Inspect

FIELDS = 20
NAMED = "localStorage.setItem('lensscan:sky:test:grader', 'bench')"
NEXT = """async () => {
    const [grid, page] = [document.getElementById('grid'), document.getElementById('page')];
    const [before, began] = [page.textContent, performance.now()];
    document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'PageDown', bubbles: true }));
    while (page.textContent === before || grid.dataset.ready !== 'yes') await new Promise(requestAnimationFrame);
    return performance.now() - began;
}"""


def opened(browser: Any, url: str) -> tuple[Any, float]:
    """A page with its first mosaic, and how long that took in seconds."""
    context = browser.new_context(viewport={"width": DESKTOP[0], "height": DESKTOP[1]})
    context.add_init_script(NAMED)
    page = context.new_page()
    began = time.perf_counter()
    page.goto(url, wait_until="commit")
    page.wait_for_selector("#grid[data-ready=yes]", timeout=60_000)
    return page, time.perf_counter() - began


def told(name: str, values: list[float], unit: str) -> None:
    print(f"{name}: median {statistics.median(values):.3g} {unit}, largest {max(values):.3g} {unit} of {len(values)}")


def pages(page: Any, number: int, pause: float) -> list[float]:
    times = []
    for _ in range(number):
        page.wait_for_timeout(1000 * pause)
        times.append(float(page.evaluate(NEXT)))
    return times


def graded(page: Any, output: Path, served: Inspect, grades: Path, number: int) -> Inspect:
    """Press grades; kill the server after a third and two thirds of them."""
    page.keyboard.press("Home")
    page.keyboard.press("v")
    kills = {number // 3, 2 * number // 3}
    port = served.port
    began, away = time.perf_counter(), 0.0
    for count in range(number):
        page.wait_for_selector("#single[data-ready=yes]", timeout=60_000)
        page.keyboard.press("abcx"[count % 4])
        if count in kills:
            served.kill()
            gone = time.perf_counter()
            served = Inspect(output, "--port", port, "--grades", grades)
            away += time.perf_counter() - gone
    took = time.perf_counter() - began
    page.wait_for_selector("#saved[data-unsaved='0']", timeout=60_000)
    lines = (grades / "journal.jsonl").read_text().splitlines()
    letters = [json.loads(line)["grade"] for line in lines]
    lost = number - len(letters) if letters == ["abcx"[k % 4].upper() for k in range(len(letters))] else None
    print(
        f"grades: {number} pressed in {took:.1f} s, {away:.1f} s of them without a server, killed {len(kills)} times: "
        f"{60 * number / (took - away):.0f} a minute; on disk {len(letters)}, "
        f"{'in another order' if lost is None else f'{lost} lost'}"
    )
    return served


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--grades", type=int, default=600)
    given = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        output = (given.folder or Path(scratch)) / "products"
        if not (output / "scan.json").is_file():
            made_scan(output, [f"f{k:02d}" for k in range(FIELDS)], given.candidates // FIELDS, size=64)
        began = time.perf_counter()
        grades = Path(scratch) / "grades"
        served = Inspect(output, "--port", 0, "--grades", grades)
        print(
            f"{served.said['candidates']:,} candidates; the server is there after {time.perf_counter() - began:.1f} s"
        )
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        first, cold = opened(browser, served.url)
        tiles = first.locator(".tile").count()
        print(f"first mosaic, {tiles} tiles, nothing cached anywhere: {cold:.2f} s")
        told("first mosaic, a new browser each time", [opened(browser, served.url)[1] for _ in range(5)], "s")
        told("next page, a second apart", pages(first, 30, 1.0), "ms")
        told("next page, as fast as they come", pages(first, 30, 0.0), "ms")
        try:
            served = graded(first, output, served, grades, given.grades)
        finally:
            browser.close()
            served.stop()


if __name__ == "__main__":
    main()
