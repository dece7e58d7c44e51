"""Memory that is freed and taken again, counted in page faults of a process of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from workflows.allocator import keep_freed_memory

if "keep" in sys.argv:
    print(keep_freed_memory())
    np.ones(8_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def said(*arguments: str, **environment: str) -> list[str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, *arguments], capture_output=True, text=True, env=own | environment, check=True
    )
    return done.stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_taken_again_without_page_faults():
    handed_back = int(said()[0])
    done, kept = said("keep")
    assert done == "True"
    assert handed_back > 1000
    assert int(kept) < handed_back / 10


def test_what_the_environment_says_of_memory_stands():
    assert said("keep", MALLOC_ARENA_MAX="2")[0] == "False"
