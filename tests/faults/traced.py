"""The trainable of the fault campaign: slow enough to be killed; it leaves a trace of every epoch that it trains."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import psutil

from tests.tune_gate.curve_trainable import CurveTrainable

EPOCH_SECONDS = 0.15
PROBE_SECONDS = 0.15
TRACE = "trace.jsonl"

#: Where in a trial's work a kill can be aimed at: in an epoch, in a probe, or while `resources: auto` measures.
Moment = Literal["epoch", "probe", "measuring run"]

#: The environment variable that tells a search's processes which study they work for.
STUDY = "TUNE_GATE_FAULTS_STUDY"

#: What a trace says when a moment has begun; `saved` ends them all.
_BEGUN: dict[Moment, str] = {"epoch": "begun", "probe": "probing", "measuring run": "measuring"}


class Traced(CurveTrainable):
    """Notes when each epoch begins and when its step is over: what was begun and never reported was work lost.

    While the campaign waits for something to kill, the study is held, or it would end meanwhile.
    """

    def setup(self, config: dict[str, Any]) -> None:
        super().setup(config)
        self._study, self._trace = self._folder.parents[1], self._folder / TRACE
        searched = os.environ.get(STUDY)
        # A trial that is measured lies in a folder of its own, which goes when it has been.
        self._measured = searched is not None and not self._folder.is_relative_to(Path(searched).resolve())
        if searched is not None and self._measured:
            self._study, self._trace = Path(searched), measuring_trace(Path(searched))

    def before_epoch(self) -> None:
        if self._measured:
            self._note("measuring", self._epoch + 1)
            self._wait("measuring run")
        else:
            self._note("come", self._epoch + 1)
            self._wait("epoch")
            self._note("begun", self._epoch + 1)
        time.sleep(EPOCH_SECONDS)

    def before_probe(self) -> None:
        self._note("probing", self._epoch)
        self._wait("probe")
        time.sleep(PROBE_SECONDS)

    def step(self) -> dict[str, Any]:
        result = super().step()
        self._note("saved", self._epoch)
        return result

    def _wait(self, moment: Moment) -> None:
        hold = hold_file(self._study, moment)
        while hold.exists():
            time.sleep(0.05)

    def _note(self, what: str, epoch: int) -> None:
        line = {
            "what": what, "attempt": self._order.attempt, "epoch": epoch, "time": time.time(), "process": os.getpid(),
        }  # fmt: skip
        with self._trace.open("a") as trace:
            trace.write(json.dumps(line) + "\n")


def hold_file(study: Path, moment: Moment) -> Path:
    """While this file exists, no epoch of that study begins, or no probe or measured epoch of it ends."""
    return study.with_name(f"{study.name}.hold-{moment.replace(' ', '-')}")


def measuring_trace(study: Path) -> Path:
    """The trace of the trials that `resources: auto` measures for a study."""
    return study.with_name(f"{study.name}.measuring.jsonl")


def read_trace(path: Path) -> list[dict[str, Any]]:
    """The lines of a trace; one that a kill has torn is left out."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def inside(study: Path, moment: Moment) -> set[int]:
    """The living processes that are inside such a moment of that study now."""
    paths = [measuring_trace(study)] if moment == "measuring run" else _traces(study)
    return {line["process"] for path in paths for line in _newest(path) if line["what"] == _BEGUN[moment]}


def at_work(study: Path) -> set[int]:
    """The living processes that have come to train an epoch of that study, be they held or not."""
    return {line["process"] for path in _traces(study) for line in _newest(path) if line["what"] != "saved"}


def _traces(study: Path) -> Iterator[Path]:
    return study.glob(f"trials/*/{TRACE}")


def _newest(path: Path) -> Iterator[dict[str, Any]]:
    """The newest line of each process in a trace that lives."""
    for line in {line["process"]: line for line in read_trace(path)}.values():
        if _lives(line["process"], line["time"]):
            yield line


def _lives(pid: int, since: float) -> bool:
    """Whether the process that had this number then lives."""
    try:
        process = psutil.Process(pid)
        return process.create_time() <= since and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
