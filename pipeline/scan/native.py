"""Loops over pixels that are compiled, where numpy would go through a field a dozen times for one question.

Code is compiled at its first call for a kind of processor and kept: beside the source where that can be written to,
else in the user's cache or in NUMBA_CACHE_DIR, so that workers that start later find it. Where there is no such place
each process compiles anew. Nothing is reordered, contracted or run in several threads: sums have the bits that the
loops say, on any machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

WHOLE = 1.5 * 2.0**52
"""What is added to this comes to lie on whole numbers, the nearest ones, and a half on the even one; Knuth's trick."""


def native(function: Function) -> Function:
    """Compile a function of arrays and numbers when it is first called.

    Parameters
    ----------
    function : callable
        May call others that are native; knows numpy's arrays, and no other object.
    """
    try:
        compiled: Function = numba.njit(function, cache=True, nogil=True)
    except RuntimeError:  # numba has no class of its own for a source that it finds no place to keep code for
        compiled = numba.njit(function, nogil=True)
    return compiled
