"""The trainable of the fault campaign: slow enough to be killed; it leaves a trace of every epoch that it trains."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tests.tune_gate.curve_trainable import CurveTrainable

EPOCH_SECONDS = 0.15
TRACE = "trace.jsonl"


class Traced(CurveTrainable):
    """Notes when each epoch begins and when it has been saved: what was begun and never reported was work lost.

    While the campaign waits for a node or a worker to kill, the study is held, or it would end meanwhile.
    """

    def before_epoch(self) -> None:
        hold = hold_file(self._folder.parents[1])
        while hold.exists():
            time.sleep(0.05)
        self._note("begun", self._epoch + 1)
        time.sleep(EPOCH_SECONDS)

    def step(self) -> dict[str, Any]:
        result = super().step()
        self._note("saved", self._epoch)
        return result

    def _note(self, what: str, epoch: int) -> None:
        line = {"what": what, "attempt": self._order.attempt, "epoch": epoch, "time": time.time()}
        with (self._folder / TRACE).open("a") as trace:
            trace.write(json.dumps(line) + "\n")


def hold_file(study: Path) -> Path:
    """While this file exists, no epoch of that study begins."""
    return study.with_name(f"{study.name}.hold")


def read_trace(folder: Path) -> list[dict[str, Any]]:
    """The trace of the trial whose checkpoints are in `folder`; a line that a kill has torn is left out."""
    path = folder / TRACE
    if not path.exists():
        return []
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines
