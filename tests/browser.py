"""Debian's Chromium through Playwright: pages for tests to look at, and what axe finds wrong with them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = (1280, 900)
PHONE = (390, 844)


@dataclass
class Watched:
    """A page, and what went on in it: errors of scripts or on the console, and addresses that it asked for."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def axe(self, *, without: tuple[str, ...] = ()) -> list[str]:
        """What axe-core finds, one line a rule with the first elements that break it; rules `without` are left out."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [
            f"{rule['id']}: {rule['help']}: {[node['html'][:160] for node in rule['nodes'][:3]]}"
            for rule in found
            if rule["id"] not in without
        ]

    def overflow(self) -> int:
        """CSS pixels by which the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


NewPage = Callable[..., Watched]
"""(size=DESKTOP, dark=False, **options of Playwright's new_context) -> a page of its own context."""


def missing() -> str | None:
    """What a browser's tests lack here, or None."""
    if not CHROMIUM.exists():
        return f"no {CHROMIUM} (apt install chromium)"
    try:
        import axe_playwright_python  # noqa: F401
        import playwright  # noqa: F401
    except ImportError as error:
        return f"{error} (./install.sh test)"
    return None


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, started for one module: Playwright keeps an event loop running in the thread while it is there."""
    lacking = missing()
    if lacking is not None:
        pytest.skip(f"no browser: {lacking}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture
def new_page(browser: Any) -> Iterator[NewPage]:
    """Makes pages, each in a context of its own, all closed after the test."""
    contexts = []

    def make(size: tuple[int, int] = DESKTOP, *, dark: bool = False, **options: Any) -> Watched:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light", **options
        )
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
        watched.page.on(
            "console", lambda message: watched.errors.append(message.text) if message.type == "error" else None
        )
        watched.page.on("request", lambda request: watched.requests.append(request.url))
        return watched

    yield make
    for context in contexts:
        context.close()


def picture(watched: Watched, name: str, *, whole: bool = True) -> Path:
    """A screenshot as a PNG in the system's temporary folder, for a person to look at."""
    folder = Path(tempfile.gettempdir()) / "lensscan-pictures"
    folder.mkdir(exist_ok=True)
    target = folder / f"{name}.png"
    watched.page.screenshot(path=str(target), full_page=whole)
    return target
