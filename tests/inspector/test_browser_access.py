"""The page for everybody: what axe finds, a phone, a stranger without the token."""

from __future__ import annotations

from pathlib import Path

from pipeline.catalogue.query import query
from tests.browser import PHONE, NewPage, picture
from tests.inspector.hands import api, enter, grades, press, ready, settled
from tests.inspector.made_scan import made_scan
from tests.inspector.serving import Inspect, inspecting

TOUCH = {"has_touch": True, "is_mobile": True, "device_scale_factor": 2}


def test_axe_finds_nothing_on_any_view(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "axe")
    press(watched, *"abcx")
    settled(watched)
    assert watched.axe() == [], "mosaic"
    watched.page.uncheck("#blind")
    watched.page.wait_for_selector(".tile .tag")
    ready(watched)
    assert watched.axe() == [], "mosaic with scores"
    press(watched, "v")
    ready(watched)
    assert watched.axe() == [], "single"
    press(watched, "?")
    watched.page.wait_for_selector("#help-dialog[open]")
    assert watched.axe() == [], "help"
    picture(watched, "inspect-help", whole=False)
    watched.page.keyboard.press("Escape")
    press(watched, "t")
    watched.page.wait_for_selector("#statistics table")
    assert watched.axe() == [], "statistics"
    picture(watched, "inspect-statistics", whole=False)
    watched.page.keyboard.press("Escape")
    watched.page.click("#who")
    assert watched.axe() == [], "who grades"


def test_a_phone_grades_by_touch_without_scrolling_sideways(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "thumb", PHONE, **TOUCH)
    assert watched.overflow() == 0
    assert watched.axe() == [], "mosaic"
    picture(watched, "inspect-phone-mosaic", whole=False)
    watched.page.tap(".tile >> nth=1")
    ready(watched)
    assert watched.overflow() == 0
    assert watched.axe() == [], "single"
    picture(watched, "inspect-phone-single", whole=False)
    for letter in "ABCX":
        box = watched.page.locator(f"#grades .{letter}").bounding_box()
        assert box is not None
        assert box["width"] >= 44
        assert box["height"] >= 44
        assert box["y"] + box["height"] <= PHONE[1], "at hand without scrolling"
    watched.page.tap("#grades .B")
    ready(watched)
    assert watched.page.inner_text("#title") == "3 of 60"
    settled(watched)
    assert [grade for grade, _ in api(watched, "/api/grades?grader=thumb")["grades"].values()] == ["B"]
    watched.page.tap("#undo")
    settled(watched)
    assert watched.page.inner_text("#title") == "2 of 60"
    watched.page.tap("#menu")
    assert watched.page.locator("#where").is_visible()
    assert watched.overflow() == 0
    assert watched.axe() == [], "tools"
    picture(watched, "inspect-phone-tools", whole=False)


def test_a_swipe_goes_to_the_next_and_back_returns_to_the_mosaic(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "swiper", PHONE, **TOUCH)
    watched.page.tap(".tile >> nth=1")
    ready(watched)
    box = watched.page.locator("#stage").bounding_box()
    assert box is not None
    middle = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    touch = watched.page.context.new_cdp_session(watched.page)
    for step, kind in ((0, "touchStart"), (-50, "touchMove"), (-110, "touchMove"), (None, "touchEnd")):
        points = [] if step is None else [{"x": middle["x"] + step, "y": middle["y"]}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    watched.page.wait_for_selector("#title:text-is('3 of 60')")
    watched.page.go_back()
    ready(watched)
    assert watched.page.locator("#grid").is_visible()


def test_buttons_of_a_phone_are_large_enough_for_a_finger(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "finger", PHONE, **TOUCH)
    watched.page.tap("#menu")
    small = """() => [...document.querySelectorAll('button, select, input')].filter((one) => one.offsetParent)
        .map((one) => [one.id || one.className, one.closest('label') ?? one])
        .filter(([, box]) => box.getBoundingClientRect().height < 43.5).map(([name]) => name)"""
    assert watched.page.evaluate(small) == []
    watched.page.tap("#menu")
    watched.page.tap(".tile >> nth=0")
    ready(watched)
    assert watched.page.evaluate(small) == []


def test_a_phones_bars_take_a_line_each_and_no_word_of_theirs_is_broken(
    browser: object, tmp_path: Path, new_page: NewPage
) -> None:
    output = made_scan(tmp_path / "products", ("A",), 30, kept=20)
    with inspecting(output, "--port", 0) as server:
        watched = enter(new_page, server.url, "narrow", PHONE, **TOUCH)
        for line in ("#to-mosaic, #to-single, #undo, #menu", "#previous-page, #next-page, #rest"):
            tops = watched.page.eval_on_selector_all(line, "all => all.map(one => one.getBoundingClientRect().top)")
            assert max(tops) - min(tops) < 1, line
        assert watched.page.evaluate("document.getElementById('notes-close').getBoundingClientRect().height") < 50
        assert watched.overflow() == 0
        watched.page.tap(".tile >> nth=0")
        ready(watched)
        watched.page.tap("#grades .B")
        ready(watched)
        borders = watched.page.eval_on_selector_all(
            "#grades button", "all => all.map(one => getComputedStyle(one).borderColor)"
        )
        assert len(set(borders)) == 1, "a finger that has gone marks no grade of the next candidate"
        picture(watched, "inspect-phone-notes", whole=False)


def test_a_name_in_other_capitals_is_the_same_grader_and_one_that_can_not_be_is_told(
    served: Inspect, new_page: NewPage
) -> None:
    laptop = enter(new_page, served.url, "émile")
    press(laptop, "a")
    settled(laptop)
    phone = enter(new_page, served.url, "Émile", PHONE, **TOUCH)
    phone.page.wait_for_selector("#toast:visible")
    assert phone.page.evaluate("document.getElementById('who').textContent") == "émile"
    assert grades(phone)[0] == "A"
    stranger = new_page(dark=True)
    stranger.page.goto(served.url)
    stranger.page.fill("#name", "no\u200bone")
    stranger.page.click("#who-form button")
    stranger.page.wait_for_selector("#name:invalid")
    assert "control characters" in stranger.page.evaluate("document.getElementById('name').validationMessage")
    stranger.page.fill("#name", "someone")
    stranger.page.click("#who-form button")
    ready(stranger)


def test_motion_is_not_for_those_who_do_without(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "still", reduced_motion="reduce")
    moving = watched.page.evaluate(
        "() => [...document.querySelectorAll('*')]"
        ".filter((one) => parseFloat(getComputedStyle(one).transitionDuration) > 0).length"
    )
    assert moving == 0


def test_a_token_opens_the_page_once_and_a_stranger_stays_outside(
    browser: object, tmp_path: Path, new_page: NewPage
) -> None:
    output = made_scan(tmp_path / "products")
    with inspecting(output, "--port", 0, "--token") as server:
        assert "?token=" in server.url
        watched = enter(new_page, server.url, "guest")
        assert watched.page.url == server.url.split("?")[0], "the token is not left in the address"
        press(watched, "a")
        settled(watched)
        assert grades(watched)[0] == "A"
        cookie = watched.page.context.cookies()[0]
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        stranger = new_page(dark=True)
        answer = stranger.page.goto(server.url.split("?")[0])
        assert answer.status == 401
        assert "asks for a token" in stranger.page.inner_text("body")


def test_markup_in_names_of_fields_and_lenses_is_text(browser: object, tmp_path: Path, new_page: NewPage) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    output = made_scan(tmp_path / "products", (nasty,), each=6)
    row = query(output, columns=["ra", "dec"], top=1).to_pylist()[0]
    known = tmp_path / "known.csv"
    known.write_text(f'name,ra,dec\n"<script>alert(2)</script>",{row["ra"]},{row["dec"]}\n')
    with inspecting(output, "--port", 0, "--known", known) as server:
        watched = enter(new_page, server.url, "looker")
        watched.page.uncheck("#blind")
        watched.page.wait_for_selector(".tile .tag")
        press(watched, "Home", "v")
        ready(watched)
        text = watched.page.inner_text("#facts")
        assert nasty in text
        assert "<script>alert(2)</script>" in text
        assert watched.page.locator("#facts img, #facts script").count() == 0
        assert watched.axe() == []
        assert watched.errors == []


def test_a_phone_on_its_side_has_stamp_and_grades_beside_each_other(served: Inspect, new_page: NewPage) -> None:
    watched = enter(new_page, served.url, "sideways", (PHONE[1], PHONE[0]), **TOUCH)
    watched.page.tap(".tile >> nth=0")
    ready(watched)
    assert watched.overflow() == 0
    assert watched.axe() == []
    stage = watched.page.locator("#stage").bounding_box()
    button = watched.page.locator("#grades .A").bounding_box()
    assert stage is not None
    assert button is not None
    assert stage["height"] > 200
    assert button["y"] + button["height"] < PHONE[0]
    picture(watched, "inspect-phone-sideways", whole=False)
