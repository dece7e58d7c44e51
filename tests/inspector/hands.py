"""What a person does with the page: give a name, press keys, look."""

from __future__ import annotations

from typing import Any

from tests.browser import DESKTOP, NewPage, Watched

SERVER_AWAY = "net::ERR_"
"""What the console says of requests that fail while the server is away; they are meant to."""


def enter(new_page: NewPage, url: str, grader: str, size: tuple[int, int] = DESKTOP, **options: Any) -> Watched:
    """Open the page, give a name, wait for the pictures."""
    watched = new_page(size, dark=True, **options)
    watched.page.goto(url)
    watched.page.fill("#name", grader)
    watched.page.click("#who-form button")
    ready(watched)
    return watched


def ready(watched: Watched) -> None:
    """Until the pictures of what is looked at are there."""
    watched.page.wait_for_selector("#grid[data-ready=yes]:visible, #single[data-ready=yes]:visible", timeout=60_000)


def press(watched: Watched, *keys: str) -> None:
    """Keys, each when the pictures are there."""
    for key in keys:
        ready(watched)
        watched.page.keyboard.press(key)


def settled(watched: Watched) -> None:
    """Until the server has said that everything is saved."""
    watched.page.wait_for_selector("#saved[data-unsaved='0']", timeout=60_000)


def grades(watched: Watched) -> list[str]:
    """Grades of the tiles on the page, in order; empty where there is none."""
    return list(watched.page.eval_on_selector_all(".tile", "tiles => tiles.map(tile => tile.dataset.grade)"))


def api(watched: Watched, path: str) -> Any:
    """What the server answers to the page."""
    return watched.page.evaluate("path => fetch(path).then(answer => answer.json())", path)


def at(watched: Watched) -> int:
    """Place of the tile that is marked."""
    found = watched.page.eval_on_selector_all(
        ".tile", "tiles => tiles.findIndex(tile => tile.classList.contains('at'))"
    )
    return int(found)
