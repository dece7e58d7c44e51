"""What a run writes about itself: figures as JSON lines and for TensorBoard, speed beside them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from pipeline.evaluate.histories import METRICS

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

SPEED, TENSORBOARD = "speed.jsonl", "tensorboard"


class History:
    """The record of a run, as a context manager.

    `metrics.jsonl` holds what the run's configuration and data decide, one object a line, so that a resumed run's is
    that of one that was never stopped, to the byte. `speed.jsonl` holds what the machine decides. Both go to the
    folder `tensorboard`, too, where TensorBoard is installed.

    Parameters
    ----------
    folder : Path
        Exists.
    step : int
        The run goes on from here: lines of later steps are taken out. 0 begins anew.
    tell : callable, optional
        Told once, in a sentence, where TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int, tell: Callable[[str], None] | None = None) -> None:
        self.folder = folder
        for name in (METRICS, SPEED):
            _keep_until(folder / name, step)
        self._board: SummaryWriter | None = None
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / TENSORBOARD), purge_step=step)
        elif tell is not None:
            tell(f'TensorBoard is not installed (the extra "train"): figures go to {folder / METRICS} alone.')

    def __enter__(self) -> History:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board is not None:
            self._board.close()

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Figures that configuration and data decide."""
        self._write(METRICS, step, values)

    def speed(self, step: int, values: Mapping[str, float]) -> None:
        """Figures that the machine decides."""
        self._write(SPEED, step, values)

    def _write(self, name: str, step: int, values: Mapping[str, float]) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, **values}) + "\n")
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(key, value, step)


def _keep_until(path: Path, step: int) -> None:
    """Drop the lines of later steps, and what a killed run left of a line."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.endswith("\n") or json.loads(line)["step"] > step:
            break
        kept.append(line)
    path.write_text("".join(kept), encoding="utf-8")
