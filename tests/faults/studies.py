"""One study of the campaign: run it, kill its processes again and again, and count what became of it."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.events import EpochReported, Event, SessionStarted
from analysis.log import LOG_FILE, read_log
from analysis.trials import Trial, fold_trials
from tests.faults.processes import (
    JOINED_TARGETS,
    LOCAL_TARGETS,
    MULTI_NODE_TARGETS,
    JoinedNodes,
    has_worker,
    start,
    strike,
)
from tests.faults.tally import Tally
from tests.faults.traced import EPOCH_SECONDS, hold_file, read_trace
from tests.tune_gate.test_search import essence
from tune_gate.lock import current_holder
from tune_gate.schedulers import build_scheduler
from tune_gate.spec import study_spec
from tune_gate.study_dir import checkpoint_folder
from tune_gate.verify import verify_study

TRIALS = 6

#: A study that has not ended after so long hangs, whatever was killed.
PATIENCE_SECONDS = 900.0

#: So long a driver may take to let go after its supervisor was killed: the running epochs, and Ray's own end.
RELEASE_SECONDS = 120.0

#: So long a session may take to start, a node to join and a worker to be there.
START_SECONDS = 120.0

#: So many processes die at once in a strike.
AT_ONCE = (1, 1, 2, 3)

#: This share of the strikes comes after some seconds, wherever the session is then, such as in its start.
BLIND = 0.3

#: Specs differ in their seeds only, and so few of them that each has one undisturbed study to compare with.
SEEDS = 3


class Stuck(Exception):  # noqa: N818
    """A search neither goes on nor ends."""


@dataclass
class FaultStudy:
    """A study that is to be killed `kills` times."""

    folder: Path
    kind: str  # local or multi-node
    seed: int
    concurrency: int
    kills: int
    generator: random.Random
    struck: list[float] = field(default_factory=list)  # when, Unix time
    tally: Tally = field(default_factory=Tally)

    @property
    def spec(self) -> dict[str, Any]:
        """The study's specification."""
        if self.kind == "local":
            return spec_of(self.seed, self.concurrency, local_cpus=self.concurrency)
        return spec_of(self.seed, self.concurrency, local_cpus=1)  # more trials at a time than the head can hold

    def run(self, whole: list[dict[str, Any]] | None) -> Tally:
        """Run the study to its end through all the kills, and count; `whole` is what it must equal, if anything."""
        nodes = JoinedNodes(self.folder, 1 if self.kind == "multi-node" else 0)
        try:
            self._run(nodes)
            self._examine(whole)
        except (Stuck, OSError, ValueError, LookupError) as error:
            self.tally.failures.append(
                f"{self.folder.name} ({self.kind}, seed {self.seed}): {type(error).__name__}: {error}; kept as "
                f"{self.folder}"
            )
        finally:
            nodes.leave()
        if not self.tally.failures:
            shutil.rmtree(self.folder)
        return self.tally

    def _run(self, nodes: JoinedNodes) -> None:
        file = self.folder.with_suffix(".yaml")
        file.write_text(json.dumps(self.spec))  # JSON is YAML
        launch, resume = ("launch", file, "--dir", self.folder), ("resume", self.folder)
        process = start(*launch)
        end = time.monotonic() + PATIENCE_SECONDS
        try:
            while not (process.poll() is not None and finished(self.folder)):
                if time.monotonic() > end:
                    raise Stuck(f"not finished after {PATIENCE_SECONDS:.0f} s and {self.tally.made} kills")
                if process.poll() is not None:
                    self._wait_for_release()
                    self.tally.resumes += 1
                    process = start(*(resume if (self.folder / "study.json").exists() else launch))
                nodes.join()
                if self.tally.made < self.kills:
                    self._strike(process, nodes)
                else:
                    pause(process, 0.5)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _strike(self, process: subprocess.Popen[bytes], nodes: JoinedNodes) -> None:
        """Kill something at a random moment: after some seconds, or after some more lines of the log."""
        possible = MULTI_NODE_TARGETS if self.kind == "multi-node" else LOCAL_TARGETS
        targets = self.generator.sample(possible, min(self.generator.choice(AT_ONCE), self.kills - self.tally.made))
        if self.generator.random() < BLIND:
            pause(process, self.generator.uniform(0.0, 15.0))
        else:
            self._wait_for_work(process, nodes, targets)
            size, wanted = log_size(self.folder), self.generator.randint(1, 4)
            end = time.monotonic() + 10.0
            while process.poll() is None and time.monotonic() < end and lines_since(self.folder, size) < wanted:
                time.sleep(0.05)
            pause(process, self.generator.uniform(0.0, EPOCH_SECONDS))
        struck = time.time()
        killed = strike(targets, self.folder, process, nodes, self.generator) if process.poll() is None else []
        if killed:
            self.tally.kills.update(killed)
            self.tally.strikes += 1
            self.struck.append(struck)

    def _wait_for_work(self, process: subprocess.Popen[bytes], nodes: JoinedNodes, targets: list[str]) -> None:
        """Hold the study until a trial runs where one is to be killed, or on any node."""
        joined = any(target in JOINED_TARGETS for target in targets)
        hold = hold_file(self.folder)
        hold.touch()
        end = time.monotonic() + START_SECONDS
        try:
            while process.poll() is None and time.monotonic() < end:
                nodes.join()
                if nodes.at_work or (not joined and has_worker(self.folder)):
                    return
                time.sleep(0.5)
        finally:
            hold.unlink()

    def _wait_for_release(self) -> None:
        """A driver without a supervisor ends by itself; wait for it."""
        end = time.monotonic() + RELEASE_SECONDS
        while (holder := current_holder(self.folder)) is not None:
            if time.monotonic() > end:
                raise Stuck(f"still held by {holder}, {RELEASE_SECONDS:.0f} s after its supervisor's death")
            time.sleep(0.1)

    def _examine(self, whole: list[dict[str, Any]] | None) -> None:
        """Count what went wrong in the finished study: once from the log alone, and once as `verify` sees it."""
        events = read_log(self.folder / LOG_FILE)
        trials = fold_trials(events)
        reports = [event for event in events if isinstance(event, EpochReported)]
        seen = Counter((report.trial, report.epoch) for report in reports)
        tally = self.tally
        tally.studies += 1
        tally.restarts += sum(isinstance(event, SessionStarted) for event in events) - 1 - tally.resumes
        tally.wanted += TRIALS
        tally.trials += len(trials)
        tally.reports += len(reports)
        tally.doubled += sum(count - 1 for count in seen.values())
        tally.lost += abs(TRIALS - len(trials))
        for trial in trials.values():
            tally.lost += len(
                set(range(1, trial.epoch + 1)) - {epoch for number, epoch in seen if number == trial.number}
            )
            if trial.state == "failed":
                tally.failures.append(f"{self.folder.name}: trial {trial.number} was given up: {trial.reason}")
        tally.wrong_decisions += wrong_decisions(self.spec, events)
        differences = verify_study(self.folder).differences
        tally.differences += len(differences)
        tally.failures += [f"{self.folder.name}: verify: {difference}" for difference in differences]
        tally.redone_seconds += self._redone(trials, reports)
        if whole is not None:
            tally.one_at_a_time += 1
            tally.different += essence(events) != whole

    def _redone(self, trials: dict[int, Trial], reports: list[EpochReported]) -> list[float]:
        """For each strike, the seconds for which epochs had been trained that were never acknowledged.

        What was begun after a kill (a worker outlives its driver) counts to that strike, else to the next one.
        """
        redone = [0.0] * len(self.struck)
        acknowledged = {(report.trial, report.attempt, report.epoch) for report in reports}
        for number in trials:
            saved: dict[tuple[int, int], float] = {}
            begun: dict[tuple[int, int], float] = {}
            for line in read_trace(checkpoint_folder(self.folder, number)):
                (begun if line["what"] == "begun" else saved)[line["attempt"], line["epoch"]] = line["time"]
            for (attempt, epoch), start_time in begun.items():
                if (number, attempt, epoch) in acknowledged or not redone:
                    continue
                following = [i for i, struck in enumerate(self.struck) if struck >= start_time]
                kill = following[0] if following else len(redone) - 1
                ended = saved.get((attempt, epoch), start_time + EPOCH_SECONDS)
                redone[kill] += max(0.0, min(ended, self.struck[kill]) - start_time) or ended - start_time
        return redone


def spec_of(seed: int, concurrency: int, local_cpus: int) -> dict[str, Any]:
    """A small study."""
    return {
        "name": f"faults-{seed}",
        "seed": seed,
        "trials": TRIALS,
        "epochs": 9,
        "scheduler": {"rungs": [3, 6]},
        "sampler": {"startup": 3},
        "trainable": "tests.faults.traced:Traced",
        "failures": {"retries": 50},  # kills are not the trials' fault
        "resources": {"local_cpus": local_cpus, "concurrency": concurrency},
    }


def undisturbed(seed: int, root: Path) -> list[dict[str, Any]]:
    """The events of the study of that seed when nobody kills anything, one trial at a time."""
    folder = root / f"undisturbed-{seed}"
    file = folder.with_suffix(".yaml")
    file.write_text(json.dumps(spec_of(seed, 1, 1)))
    start("launch", file, "--dir", folder).wait(timeout=PATIENCE_SECONDS)
    if not finished(folder):
        raise Stuck(f"the undisturbed study {folder} did not finish")
    return essence(read_log(folder / LOG_FILE))


def wrong_decisions(spec: dict[str, Any], events: list[Event]) -> int:
    """Recorded decisions that a fold of the log would not have taken; an interrupted trial was to go on."""
    scheduler = build_scheduler(study_spec(spec))
    wrong = 0
    for event in events:
        if isinstance(event, EpochReported):
            decision = scheduler.decide(event.trial, event.epoch, event.metrics)
            action = "continue" if event.action == "interrupt" else event.action
            wrong += (decision.action, decision.rung) != (action, event.rung)
        scheduler.apply(event)
    return wrong


def finished(folder: Path) -> bool:
    """Whether every trial has ended."""
    trials = fold_trials(read_log(folder / LOG_FILE))
    return len(trials) == TRIALS and all(trial.ended for trial in trials.values())


def log_size(folder: Path) -> int:
    """Bytes of the log."""
    path = folder / LOG_FILE
    return path.stat().st_size if path.exists() else 0


def lines_since(folder: Path, size: int) -> int:
    """Lines that the log has gained since it had so many bytes."""
    path = folder / LOG_FILE
    return path.read_bytes()[size:].count(b"\n") if path.exists() else 0


def pause(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait, but not longer than the process lives."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return
