"""Where one case plays: a folder, a study in it, and the commands that a user would type."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.events import EpochReported, Event
from analysis.log import LOG_FILE, read_log
from analysis.trials import fold_trials
from tests.faults.processes import environment
from tune_gate.lock import current_holder
from tune_gate.verify import verify_study

#: However loaded the machine is, a step that takes longer than this has failed.
PATIENCE_SECONDS = 400.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command came back with."""

    code: int
    text: str  # standard output and errors together


class Sandbox:
    """A study of five short trials, one at a time, unless said otherwise."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self._outputs: dict[int, Path] = {}
        self.study = folder / "study"

    @property
    def log(self) -> Path:
        """The study's log."""
        return self.study / LOG_FILE

    def events(self) -> list[Event]:
        """What the log holds."""
        return read_log(self.log)

    def launch(self, **changes: Any) -> subprocess.Popen[bytes]:
        """Start the search."""
        file = self._folder / "study.yaml"
        file.write_text(json.dumps(settings_of(changes)))  # JSON is YAML
        return self.start("launch", file, "--dir", self.study)

    def start(self, *command: object) -> subprocess.Popen[bytes]:
        """Start `tune-gate COMMAND…`."""
        output = self._folder / f"output-{len(self._started)}.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "tune_gate", *map(str, command)],
                stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment(),
            )  # fmt: skip
        self._started.append(process)
        self._outputs[process.pid] = output
        return process

    def ended(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        """The exit code and the output of a process, when it has ended."""
        code = process.wait(timeout=PATIENCE_SECONDS)
        return code, self._outputs[process.pid].read_text(errors="replace")

    def run(self, *command: object) -> Answer:
        """Run `tune-gate COMMAND…` to its end."""
        return Answer(*self.ended(self.start(*command)))

    def wait_for_reports(self, count: int) -> None:
        """Return when the log holds so many reports."""
        end = time.monotonic() + PATIENCE_SECONDS
        while sum(isinstance(event, EpochReported) for event in self.events()) < count:
            assert time.monotonic() < end, f"no {count} reports in {PATIENCE_SECONDS:.0f} s"
            time.sleep(0.1)

    def interrupted(self, **changes: Any) -> None:
        """Start the search and stop it after a few reports."""
        process = self.launch(**changes)
        self.wait_for_reports(3)
        process.send_signal(signal.SIGINT)
        code, text = self.ended(process)
        assert code == 130, (code, text)

    def finish(self, trials: int = 5, *, verified: bool = True) -> None:
        """Resume, and see that the study ends with all its trials."""
        resumed = self.run("resume", self.study)
        assert resumed.code == 0, resumed
        self.check(trials, verified=verified)

    def completes(self, trainable: str, given_up: int | None = None, **changes: Any) -> None:
        """Run a search to its end in one command; at most the trial `given_up` fails, and that says why."""
        code, text = self.ended(self.launch(trainable=trainable, **changes))
        assert code == 0, (code, text)
        self.check(given_up=given_up)

    def check(self, trials: int = 5, given_up: int | None = None, *, verified: bool = True) -> None:
        """See that every trial has ended; and, where nothing had to be lost, that `verify` finds nothing."""
        found = fold_trials(self.events())
        assert sorted(found) == list(range(1, trials + 1)), sorted(found)
        assert all(trial.ended for trial in found.values())
        for number, trial in found.items():
            assert not verified or list(trial.reports) == list(range(1, trial.epoch + 1)), number
            assert (trial.state == "failed") == (number == given_up), (number, trial.state, trial.reason)
        if given_up is not None:
            assert found[given_up].reason
        if verified:
            assert not verify_study(self.study).differences, verify_study(self.study).differences

    def close(self) -> None:
        """End what still runs."""
        holder = current_holder(self.study)
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()
        if holder is not None and holder.pid != os.getpid() and current_holder(self.study) == holder:
            os.kill(holder.pid, signal.SIGKILL)


def settings_of(changes: dict[str, Any]) -> dict[str, Any]:
    """A small study for a case."""
    return {
        "name": "case",
        "trials": 5,
        "epochs": 9,
        "scheduler": {"rungs": [3]},
        "sampler": {"startup": 3},
        "trainable": "tests.tune_gate.troublesome:Slow",
        "resources": {"local_cpus": 1, "concurrency": 1},
        **changes,
    }
