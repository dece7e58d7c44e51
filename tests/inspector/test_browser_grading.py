"""Grading in a real browser, by keyboard."""

from __future__ import annotations

from pathlib import Path

from tests.browser import NewPage, picture
from tests.inspector.conftest import write_pool
from tests.inspector.hands import SERVER_AWAY, api, at, enter, grades, press, ready, settled
from tests.inspector.made_scan import PIXEL_SCALE, made_scan
from tests.inspector.serving import Inspect, inspecting


def test_keys_grade_and_go_on_and_every_grade_reaches_the_disk(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "ann")
    press(watched, *"abcx")
    settled(watched)
    assert grades(watched)[:5] == ["A", "B", "C", "X", ""]
    assert at(watched) == 4
    assert watched.page.inner_text("#done") == "4"
    order = api(watched, "/api/stream?grader=ann&blind=1")["numbers"]
    tokens = api(watched, "/api/start")["tokens"]
    held = api(watched, "/api/grades?grader=ann")["grades"]
    assert held == {tokens[number]: [letter, ""] for number, letter in zip(order, "ABCX", strict=False)}
    assert watched.errors == []
    picture(watched, "inspect-mosaic-graded")


def test_undo_takes_back_and_goes_there_and_redo_gives_again(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "undoer")
    press(watched, "a", "b", "u")
    settled(watched)
    assert grades(watched)[:3] == ["A", "", ""]
    assert at(watched) == 1
    press(watched, "Control+z")
    settled(watched)
    assert grades(watched)[:2] == ["", ""]
    assert at(watched) == 0
    press(watched, "Shift+U")
    settled(watched)
    assert grades(watched)[:2] == ["A", ""]
    press(watched, "u", "u")
    watched.page.wait_for_selector("#toast:visible")
    assert "no grade to take back" in watched.page.inner_text("#toast")


def test_the_rest_of_a_page_is_taken_back_by_one_step_and_quick_steps_are_all_seen(
    served: Inspect, new_page: NewPage
) -> None:
    watched = enter(new_page, served.url, "hasty")
    press(watched, "a", "b")
    settled(watched)
    whole = len(grades(watched))
    watched.page.click("#rest")
    settled(watched)
    assert watched.page.inner_text("#page") == "page 1 of 1"
    assert grades(watched) == ["A", "B"] + ["X"] * (whole - 2)
    watched.page.click("#undo")
    settled(watched)
    assert grades(watched) == ["A", "B"] + [""] * (whole - 2)
    press(watched, "Shift+U")
    settled(watched)
    assert grades(watched) == ["A", "B"] + ["X"] * (whole - 2)
    watched.page.evaluate("for (let k = 0; k < 3; k += 1) document.getElementById('undo').click()")
    settled(watched)
    assert grades(watched) == [""] * whole
    assert api(watched, "/api/grades?grader=hasty")["grades"] == {}


def test_grades_that_waited_go_in_the_order_given_though_the_clock_went_back(
    browser: object, tmp_path: Path, new_page: NewPage
) -> None:
    output = made_scan(tmp_path / "products", each=6)
    with inspecting(output, "--port", 0) as server:
        watched = enter(new_page, server.url, "late")
        press(watched, "v")
        ready(watched)
        server.kill()
        watched.page.evaluate("Date.now = (now => () => now -= 3600000)(Date.now())")
        for letter in "ABX":
            watched.page.evaluate(
                "letter => import('/static/js/queue.js').then(async (queue) => {"
                " const { current } = await import('/static/js/state.js');"
                " queue.push('/api/grade', { object: current(), grade: letter, comment: '' }); })",
                letter,
            )
        with inspecting(output, "--port", server.port):
            watched.page.reload()
            ready(watched)
            settled(watched)
            held = api(watched, "/api/grades?grader=late")["grades"]
            assert [letter for letter, _ in held.values()] == ["X"]


def test_a_reload_resumes_at_the_first_without_a_grade(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "resumer")
    press(watched, *"xxa")
    settled(watched)
    watched.page.reload()
    ready(watched)
    assert watched.page.inner_text("#who") == "resumer"
    assert grades(watched)[:4] == ["X", "X", "A", ""]
    assert at(watched) == 3
    elsewhere = enter(new_page, served.url, "resumer")
    assert at(elsewhere) == 3


def test_two_graders_see_neither_each_others_grades_nor_order(served: Inspect, new_page: NewPage) -> None:
    one, other = (enter(new_page, served.url, name) for name in ("first grader", "second grader"))
    press(one, *"aab")
    press(other, *"xx")
    for watched in (one, other):
        settled(watched)
        watched.page.reload()
        ready(watched)
    assert grades(one)[:4] == ["A", "A", "B", ""]
    assert grades(other)[:3] == ["X", "X", ""]
    assert "second grader" not in one.page.content().replace('value="second grader"', "")
    orders = [api(one, f"/api/stream?grader={name}&blind=1")["numbers"] for name in ("first grader", "second grader")]
    assert orders[0] != orders[1]


def test_a_comment_is_saved_by_enter_and_markup_in_it_is_text(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "<img src=x onerror=alert(1)>")
    nasty = "<script>alert(1)</script><b>arc</b>"
    press(watched, "n")
    watched.page.keyboard.type(nasty)
    watched.page.keyboard.press("Enter")
    press(watched, "b")
    settled(watched)
    press(watched, "ArrowLeft")
    ready(watched)
    assert watched.page.input_value("#comment") == nasty
    watched.page.reload()
    ready(watched)
    press(watched, "t")
    watched.page.wait_for_selector("#statistics table")
    assert "<img src=x onerror=alert(1)>" in watched.page.inner_text("#statistics")
    assert watched.page.locator("#statistics img, #statistics b, img[src=x]").count() == 0
    assert watched.errors == []
    held = api(watched, "/api/grades?grader=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")["grades"]
    assert list(held.values()) == [["B", nasty]]


def test_letters_typed_into_a_comment_or_the_filter_grade_nothing(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "typist")
    press(watched, "/")
    watched.page.keyboard.type("abcx")
    press(watched, "Escape", "n")
    watched.page.keyboard.type("a cab")
    watched.page.keyboard.press("Escape")
    settled(watched)
    assert api(watched, "/api/grades?grader=typist")["grades"] == {}


def test_the_rest_of_a_page_is_graded_x_and_can_be_taken_back(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "quick")
    press(watched, "a")
    page = len(grades(watched))
    ready(watched)
    watched.page.click("#rest")
    settled(watched)
    held = api(watched, "/api/grades?grader=quick")["grades"]
    assert sorted(grade for grade, _ in held.values()) == ["A", *["X"] * (page - 1)]
    press(watched, "u")
    settled(watched)
    assert len(api(watched, "/api/grades?grader=quick")["grades"]) == 1, "the rest is taken back together"


def test_everything_goes_by_keyboard_alone(served: Inspect, new_page: NewPage) -> None:
    watched = new_page(dark=True)
    watched.page.goto(served.url)
    watched.page.wait_for_selector("#who-dialog[open]")
    watched.page.keyboard.type("keys")
    watched.page.keyboard.press("Enter")
    press(watched, "ArrowRight", "ArrowDown", "Enter")
    ready(watched)
    assert watched.page.locator("#single").is_visible()
    press(watched, "s", "d", "m", "+", "f", "c", "ArrowLeft")
    ready(watched)
    assert watched.page.get_attribute("#grades .C", "aria-pressed") == "true"
    assert watched.page.input_value("#stretch") == "faint"
    assert watched.page.input_value("#bands") == "g less i"
    press(watched, "Escape", "?")
    watched.page.wait_for_selector("#help-dialog[open]")
    watched.page.keyboard.press("Escape")
    press(watched, "PageDown", "Home")
    assert at(watched) == 0
    watched.page.keyboard.press("Tab")
    style = watched.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert style == "solid", "what has the focus is seen to have it"


def test_a_server_that_is_killed_loses_no_grade_and_what_waited_is_sent_to_the_next(
    tmp_path: Path, new_page: NewPage
) -> None:
    output = made_scan(tmp_path / "products")
    with inspecting(output, "--port", 0) as first:
        port = first.port
        watched = enter(new_page, first.url, "survivor")
        press(watched, *"abc")
        settled(watched)
        first.kill()
        press(watched, "x", "a")
        watched.page.wait_for_selector("#saved:has-text('2 unsaved')")
        assert grades(watched)[:5] == ["A", "B", "C", "X", "A"]
        picture(watched, "inspect-server-away")
    with inspecting(output, "--port", port) as again:
        assert again.said["graded"] == 3
        settled(watched)
        held = api(watched, "/api/grades?grader=survivor")["grades"]
        assert sorted(grade for grade, _ in held.values()) == ["A", "A", "B", "C", "X"]
        press(watched, "u")
        settled(watched)
        assert grades(watched)[:5] == ["A", "B", "C", "X", ""]
    assert [error for error in watched.errors if SERVER_AWAY not in error] == []


def test_what_a_closed_page_left_unsaved_is_sent_by_the_next(tmp_path: Path, new_page: NewPage) -> None:
    output = made_scan(tmp_path / "products")
    with inspecting(output, "--port", 0) as first:
        port = first.port
        watched = enter(new_page, first.url, "closer")
        first.kill()
        press(watched, "a")
        watched.page.wait_for_selector("#saved:has-text('1 unsaved')")
        asked: list[str] = []
        watched.page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
        watched.page.close(run_before_unload=True)
        watched.page.wait_for_event("close") if not watched.page.is_closed() else None
        assert asked == ["beforeunload"]
    with inspecting(output, "--port", port) as again:
        page = watched.page.context.new_page()
        page.goto(again.url)
        page.wait_for_selector(".tile[data-grade=A]")
        page.wait_for_selector("#saved[data-unsaved='0']")
        held = page.evaluate("fetch('/api/grades?grader=closer').then(answer => answer.json())")["grades"]
        assert list(held.values()) == [["A", ""]]


def test_planted_objects_are_graded_like_the_others_and_measure_the_grader(tmp_path: Path, new_page: NewPage) -> None:
    output = made_scan(tmp_path / "products", each=20)
    pool = write_pool(tmp_path / "pool.npz", side=32, scale=PIXEL_SCALE)
    with inspecting(
        output, "--port", 0, "--plant-lenses", pool, "--plant-duds", pool, "--planted-share", 0.2
    ) as server:
        watched = enter(new_page, server.url, "measured")
        assert watched.page.inner_text("#total") == "50"
        press(watched, "v")
        for _ in range(50):
            press(watched, "x")
            assert watched.page.locator("#facts h3", has_text="Position").count() == 0
        settled(watched)
        assert watched.page.locator("#similar").is_hidden()
        press(watched, "t")
        watched.page.wait_for_selector("#statistics table")
        assert "told with Blind off" in watched.page.inner_text("#statistics")
        assert "50 of 50" in watched.page.inner_text("#statistics")
        watched.page.keyboard.press("Escape")
        watched.page.uncheck("#blind")
        watched.page.wait_for_selector("#total:text-is('40')")
        press(watched, "t")
        watched.page.wait_for_selector("#statistics table >> nth=1")
        assert "Planted objects" in watched.page.inner_text("#statistics")
        row = watched.page.locator("#statistics tr", has_text="measured").nth(1).inner_text().split("\t")
        assert (row[1].strip(), row[3].strip()) in {("5", "5"), ("6", "4"), ("4", "6")}
        assert row[2].strip().startswith("0 %")
        picture(watched, "inspect-planted-statistics", whole=False)
        assert watched.errors == []


def test_grades_are_exported_from_the_page(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "exporter", accept_downloads=True)
    press(watched, "a")
    settled(watched)
    press(watched, "t")
    watched.page.wait_for_selector("#statistics table")
    for form in ("csv", "parquet"):
        with watched.page.expect_download() as started:
            watched.page.click(f".export[data-form={form}]")
        assert started.value.suggested_filename == f"grades-test.{form}"
        data = Path(str(started.value.path())).read_bytes()
        assert b"grade_exporter" in data
