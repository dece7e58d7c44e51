"""Ctrl-C, and the SIGTERM of a batch system: the command says that it stops, and a second one ends it at once."""

from __future__ import annotations

import os
import signal
from types import FrameType

STOPPED = "stopped; run the same command again, it resumes."

_caught: list[int] = []


def listen() -> None:
    """From now on either signal raises KeyboardInterrupt in this process, the first time."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def exit_code() -> int | None:
    """128 and the number of the signal that was caught, as shells have it; None without one."""
    return 128 + _caught[0] if _caught else None


def _stop(number: int, frame: FrameType | None) -> None:
    if _caught:
        os._exit(128 + number)
    _caught.append(number)
    # Not by print, which may be what was interrupted.
    os.write(2, b"stopping; once more to stop at once.\n")
    raise KeyboardInterrupt
