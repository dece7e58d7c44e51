"""Drawing again: every stamp until it is visible, in batches, and not for ever."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.errors import ConfigError
from pipeline.sims.redraw import until_visible


def test_every_stamp_is_attempted_until_it_is_visible_and_no_longer():
    needed = {stamp: 1 + stamp % 3 for stamp in range(50)}
    tried = dict.fromkeys(needed, 0)

    def attempt(batch: Sequence[int]) -> list[bool]:
        for stamp in batch:
            tried[stamp] += 1
        return [tried[stamp] == needed[stamp] for stamp in batch]

    until_visible(range(50), attempt, most=3, what="stamps")
    assert tried == needed


def test_nothing_visible_is_an_error_that_says_what_to_change():
    with pytest.raises(ConfigError, match=r"3 of 3 lenses still have no visible arc; lower visible_share"):
        until_visible([4, 7, 9], lambda batch: [False] * len(batch), most=5, what="lenses")


def test_no_stamps_need_no_attempt():
    until_visible([], lambda batch: pytest.fail("attempted"), most=1, what="stamps")
