"""Drawing again until an arc is visible."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.errors import ConfigError
from pipeline.sims.render.image import single_thread

_BATCH = 16
"""Systems drawn and rendered at once: few enough that a batch's arrays stay in the cache."""
_MORE = 4
"""Stamps more than there are, for which draws are granted: one of two stamps may be unlucky."""


def until_visible(
    stamps: Sequence[int], attempt: Callable[[Sequence[int]], Sequence[bool]], *, most: int, what: str
) -> None:
    """Attempt stamps batch by batch, those again whose arc was not visible, after the others.

    Parameters
    ----------
    stamps : sequence of int
        Their numbers.
    attempt : callable
        Draws, renders and stores stamps, and says for each whether it is done.
    most : int
        Draws a stamp, on average.
    what : str
        What they are, for the error: "stamps".

    Raises
    ------
    ConfigError
        If so many draws are not enough.
    """
    waiting, draws = list(stamps), 0
    with single_thread():
        while waiting:
            batch, waiting = waiting[:_BATCH], waiting[_BATCH:]
            draws += len(batch)
            if draws > most * (len(stamps) + _MORE):
                raise ConfigError(
                    f"after {draws} draws {len(batch) + len(waiting)} of {len(stamps)} {what} still have no visible "
                    "arc; lower visible_share or raise arc_snr in the population."
                )
            waiting += [stamp for stamp, done in zip(batch, attempt(batch), strict=True) if not done]
