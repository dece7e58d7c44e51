"""Reading ahead keeps order, ends, and passes on what goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.scan.read_ahead import read_ahead


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_items_come_in_their_order_and_all_of_them(n: int):
    assert list(read_ahead(iter(range(n)))) == list(range(n))


def test_an_error_comes_at_its_place():
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    items = read_ahead(broken())
    assert next(items) == 1
    with pytest.raises(OSError, match="disk"):
        next(items)


def test_the_next_item_is_made_while_the_caller_is_busy():
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        made.set()
        yield 1

    ahead = read_ahead(items(), depth=1)
    assert next(ahead) == 0
    assert made.wait(10)


def test_no_more_is_made_than_the_depth():
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    ahead = read_ahead(items(), depth=2)
    next(ahead)
    time.sleep(0.2)
    assert len(made) <= 3
    ahead.close()
