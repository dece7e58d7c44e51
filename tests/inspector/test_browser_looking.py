"""Looking at candidates in a browser: filters, orders, other mosaics, zoom, others' grades."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import NewPage, picture
from tests.inspector.hands import api, enter, grades, press, ready, settled
from tests.inspector.made_scan import made_scan
from tests.inspector.serving import Inspect, inspecting


def test_a_filter_is_a_query_and_what_it_refuses_is_told(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "filterer")
    watched.page.fill("#where", "score > 0.6 AND NOT flag(vet_flags, 'CHIP_GAP_CROSSES')")
    watched.page.keyboard.press("Enter")
    wanted = len(
        api(watched, "/api/stream?blind=0&where=score%20%3E%200.6%20AND%20NOT%20flag(vet_flags,'CHIP_GAP_CROSSES')")[
            "numbers"
        ]
    )
    watched.page.wait_for_selector(f"#total:text-is('{wanted}')")
    ready(watched)
    assert 0 < len(grades(watched)) == wanted < 60
    watched.page.fill("#where", "1=1; DROP TABLE catalogue")
    watched.page.keyboard.press("Enter")
    watched.page.wait_for_selector("#filter-error:visible")
    assert "one expression" in watched.page.inner_text("#filter-error")
    picture(watched, "inspect-filter-refused")
    watched.page.fill("#where", "")
    watched.page.keyboard.press("Enter")
    watched.page.wait_for_selector("#total:text-is('60')")
    assert watched.page.locator("#filter-error").is_hidden()


def test_scores_and_order_show_when_blind_is_off(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "seer")
    assert watched.page.locator(".tile .tag").count() == 0
    watched.page.uncheck("#blind")
    watched.page.wait_for_selector(".tile .tag")
    ready(watched)
    scores = [float(text) for text in watched.page.locator(".tile .tag").all_inner_texts()]
    assert scores == sorted(scores, reverse=True)
    watched.page.select_option("#sort", "ra")
    watched.page.click("#direction")
    ready(watched)
    press(watched, "v")
    ready(watched)
    assert watched.page.locator("#facts .member").count() == 1
    assert watched.page.locator("#facts code").first.inner_text().isdecimal()
    picture(watched, "inspect-single-seeing")
    assert watched.errors == []


def test_shown_are_those_of_a_grade(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "sorter")
    press(watched, *"axbxx")
    settled(watched)
    watched.page.select_option("#show", "X")
    ready(watched)
    assert grades(watched) == ["X"] * 3
    watched.page.select_option("#show", "ungraded")
    ready(watched)
    assert set(grades(watched)) == {""}


def test_nothing_is_loaded_from_elsewhere(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "watcher")
    press(watched, "v", "a", "Escape")
    ready(watched)
    assert {url.split("/")[2] for url in watched.requests if not url.startswith(("blob:", "data:"))} == {
        served.url.split("/")[2]
    }
    links = watched.page.eval_on_selector_all("a[href^=http]", "links => links.map(link => [link.rel, link.target])")
    assert links
    assert all("noopener" in rel and target == "_blank" for rel, target in links)


def test_a_mosaic_by_consensus_and_by_disagreement_is_for_who_is_not_blind(tmp_path: Path, new_page: NewPage) -> None:
    output = made_scan(tmp_path / "products", each=6)
    with inspecting(output, "--port", 0) as server:
        for name, keys in (("one", "a" * 12), ("other", "abxc" * 3)):
            watched = enter(new_page, server.url, name)
            press(watched, *keys)
            settled(watched)
        assert watched.page.locator("#sort").is_disabled()
        watched.page.uncheck("#blind")
        watched.page.wait_for_selector(".tile .tag")
        watched.page.select_option("#sort", "consensus of graders")
        watched.page.wait_for_selector(".tile .tag:has-text(' of ')")
        ready(watched)
        letters = [tag.split()[0] for tag in watched.page.locator(".tile .tag").all_inner_texts()]
        assert letters == sorted(letters)
        assert len(letters) == len(grades(watched)) == 12
        assert len(set(letters)) > 1
        watched.page.select_option("#sort", "disagreement of graders")
        watched.page.wait_for_selector(".tile .tag:has-text('±')")
        assert watched.axe() == []
        picture(watched, "inspect-consensus")
        watched.page.reload()
        ready(watched)
        assert watched.page.input_value("#sort") == "disagreement of graders"
        assert watched.errors == []


def test_similar_objects_are_a_mosaic_of_their_own(tmp_path: Path, new_page: NewPage) -> None:
    output = made_scan(tmp_path / "products", each=20, embedded=True)
    with inspecting(output, "--port", 0) as server:
        watched = enter(new_page, server.url, "comparer")
        press(watched, "v")
        ready(watched)
        watched.page.click("#similar")
        watched.page.wait_for_selector("#likeness:visible")
        ready(watched)
        likeness = [float(text) for text in watched.page.locator(".tile .tag").all_inner_texts()]
        assert len(likeness) == 39
        assert likeness == sorted(likeness, reverse=True)
        picture(watched, "inspect-similar", whole=False)
        press(watched, "a")
        settled(watched)
        watched.page.click("#likeness-close")
        watched.page.wait_for_selector("#total:text-is('40')")
        ready(watched)
        assert grades(watched).count("A") == 1
        assert watched.errors == []


def test_wheel_and_buttons_zoom_and_a_drag_moves_the_stamp(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "zoomer")
    press(watched, "v")
    ready(watched)

    def width() -> float:
        return float(watched.page.evaluate("document.getElementById('stamp').getBoundingClientRect().width"))

    def left() -> float:
        return float(watched.page.evaluate("document.getElementById('stamp').getBoundingClientRect().left"))

    whole = width()
    watched.page.hover("#stage")
    watched.page.mouse.wheel(0, -100)
    assert width() == pytest.approx(1.2 * whole, rel=0.01)
    watched.page.click("#zoom-in")
    assert width() == pytest.approx(1.8 * whole, rel=0.01)
    before = left()
    box = watched.page.locator("#stage").bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    watched.page.mouse.move(*middle)
    watched.page.mouse.down()
    watched.page.mouse.move(middle[0] + 40, middle[1])
    watched.page.mouse.up()
    assert left() == pytest.approx(before + 40, abs=1.5)
    press(watched, "0")
    assert width() == pytest.approx(whole)
    press(watched, "+", "ArrowRight")
    ready(watched)
    assert width() == pytest.approx(whole), "another object is seen whole"


def test_everybodys_grades_are_shown_on_demand_and_never_to_the_blind(served: Inspect, new_page: NewPage) -> None:
    for name, letter in (("talker one", "a"), ("talker two", "x")):
        watched = enter(new_page, served.url, name)
        watched.page.uncheck("#blind")
        watched.page.wait_for_selector(".tile .tag")
        press(watched, "Home", "v")
        ready(watched)
        press(watched, letter, "ArrowLeft")
        settled(watched)
    ready(watched)
    assert "talker one" not in watched.page.inner_text("#single")
    watched.page.click("#others")
    watched.page.wait_for_selector("#said-by:visible")
    text = watched.page.inner_text("#said-by")
    assert "talker one" in text
    assert "talker two" in text
    press(watched, "ArrowRight")
    ready(watched)
    assert watched.page.locator("#said-by").is_hidden()
    press(watched, "Escape")
    watched.page.check("#blind")
    press(watched, "v")
    ready(watched)
    assert watched.page.locator("#others").is_hidden()
