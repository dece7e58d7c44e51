"""The browser that tests look at pages with."""

from __future__ import annotations

from tests.browser import PHONE, NewPage


def test_axe_finds_a_picture_without_words_and_nothing_in_a_page_that_is_right(new_page: NewPage) -> None:
    right = '<!doctype html><html lang="en"><title>x</title><main><h1>x</h1>{}</main></html>'
    watched = new_page()
    watched.page.set_content(right.format(""))
    assert watched.axe() == []
    watched.page.set_content(right.format('<img src="data:,">'))
    assert [text.partition(":")[0] for text in watched.axe()] == ["image-alt"]


def test_what_goes_wrong_in_a_page_is_told(new_page: NewPage) -> None:
    watched = new_page(PHONE, dark=True)
    watched.page.set_content('<div style="width:500px">x</div><script>console.error("odd"); nothing()</script>')
    assert watched.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert watched.overflow() > 100
    assert watched.errors[0] == "odd"
    assert "nothing is not defined" in watched.errors[1]
