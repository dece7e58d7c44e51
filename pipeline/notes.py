"""What a person should know of a field that goes on all the same: said where it is seen, kept by who listens.

An error ends a field, a note does not. Notes are facts of the field's files, so that a rerun says the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class FieldWarning(UserWarning):
    """A note that nobody listened to, as in a notebook."""


_listener: ContextVar[list[str] | None] = ContextVar("listener", default=None)


def note(text: str) -> None:
    """Tell who listens, once for each text; without a listener it is a `FieldWarning`."""
    heard = _listener.get()
    if heard is None:
        warnings.warn(text, FieldWarning, stacklevel=2)
    elif text not in heard:
        heard.append(text)


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect the notes of this thread, in order; the list fills while the block runs."""
    heard: list[str] = []
    token = _listener.set(heard)
    try:
        yield heard
    finally:
        _listener.reset(token)
