"""The trainable of the fault campaign: slow enough to be killed; it leaves a trace of every epoch it begins."""

from __future__ import annotations

from tests.tune_gate.curve_trainable import CurveTrainable

EPOCH_SECONDS = 0.15
TRACE = "epochs-begun"


class Traced(CurveTrainable):
    """Appends a line to its trace before each epoch: what was begun and never reported was work lost."""

    epoch_seconds = 0.0

    def before_epoch(self) -> None:
        import time

        with (self._folder / TRACE).open("a") as trace:
            trace.write(f"{self._epoch + 1}\n")
        time.sleep(EPOCH_SECONDS)
