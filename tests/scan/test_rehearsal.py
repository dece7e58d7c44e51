from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ASK = """
import importlib, json, pkgutil, numba, pipeline.scan
from pipeline.scan.rehearsal import rehearse
from pipeline.scan_config import MasksConfig
rehearse(MasksConfig())
kinds = numba.core.registry.CPUDispatcher
modules = [importlib.import_module(f"pipeline.scan.{one.name}") for one in pkgutil.iter_modules(pipeline.scan.__path__)]
found = {f"{m.__name__}.{n}": len(v.signatures) for m in modules for n, v in vars(m).items() if isinstance(v, kinds)}
print(json.dumps(found))
"""


def test_every_compiled_function_is_compiled_by_the_rehearsal(tmp_path: Path) -> None:
    # With a place of its own: what comes from a cache has not been called.
    place = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    answer = subprocess.run([sys.executable, "-c", ASK], env=place, capture_output=True, text=True, check=True)
    signatures = json.loads(answer.stdout)
    assert len(signatures) > 30
    assert [name for name, number in signatures.items() if number == 0] == []
