"""The device's own limits, measured: multiplications of square matrices, and fused multiply-adds in registers."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

_SIDES = (1024, 2048, 4096)

_LANES, _CHAINS = 16, 12
_SOURCE = f"""
typedef float lanes __attribute__((vector_size({4 * _LANES})));
float spin(long rounds) {{
    lanes sum[{_CHAINS}], a, b;
    for (int k = 0; k < {_LANES}; k++) {{ a[k] = 0.999f; b[k] = 0.001f * k; }}
    for (int c = 0; c < {_CHAINS}; c++) sum[c] = b * (float)c;
    for (long r = 0; r < rounds; r++) {{
        {"".join(f"sum[{chain}] = sum[{chain}] * a + b;" for chain in range(_CHAINS))}
    }}
    float answer = 0;
    for (int c = 0; c < {_CHAINS}; c++) for (int k = 0; k < {_LANES}; k++) answer += sum[c][k];
    return answer;
}}
"""


Clock = Callable[[], float]
"""Wall time, or the processor time of one thread's work where others use the machine: `time.perf_counter` and
`time.process_time`."""


def fastest(work: Callable[[], object], clock: Clock = time.perf_counter, rounds: int = 3) -> float:
    """Seconds of the fastest round, after one that warms up; CUDA's queue is emptied before and after."""
    work()
    seconds = []
    for _ in range(rounds):
        _wait()
        began = clock()
        work()
        _wait()
        seconds.append(clock() - began)
    return min(seconds)


def matmul_rate(place: torch.device, dtype: torch.dtype, clock: Clock = time.perf_counter) -> float:
    """GFLOP/s of the best of some sizes of square matrices."""
    best = 0.0
    for side in _SIDES if place.type == "cpu" else (4096, 8192):
        matrix = torch.randn(side, side, device=place).to(dtype)
        with torch.inference_mode():
            best = max(best, 2e-9 * side**3 / fastest(lambda matrix=matrix: matrix @ matrix, clock))  # type: ignore[misc]
    return best


def fma_rate(threads: int, clock: Clock = time.perf_counter) -> float | None:
    """GFLOP/s of independent chains of fused multiply-adds, one a thread; None without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "spin.c", Path(folder) / "spin.so"
        source.write_text(_SOURCE)
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, str(source), "-o", str(library)], check=True)
        spin = ctypes.CDLL(str(library)).spin
        spin.argtypes, spin.restype = [ctypes.c_long], ctypes.c_float
        rounds = 20_000_000
        with ThreadPoolExecutor(threads) as pool:
            seconds = fastest(lambda: list(pool.map(spin, [rounds] * threads)), clock)
    return 2e-9 * _LANES * _CHAINS * rounds * threads / seconds


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
