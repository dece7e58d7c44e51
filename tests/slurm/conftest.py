"""A SLURM for the tests of this folder, where one can be started."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.slurm.node import Slurm, missing, one_node
from tests.workflows.conftest import edit, project

__all__ = ["edit", "project"]


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    reason = missing()
    if reason is not None:
        pytest.skip(f"no SLURM: {reason}")
    with one_node() as node:
        yield node
