"""Random SIGKILLs of every process of a search, over many small studies, and what became of the studies.

    python -m tests.faults.campaign --kills 200 --seed 0 --report tests/faults/REPORT.md

A study with one trial at a time must end event by event like one that nobody disturbed. With several at a time no
report may be lost or doubled, every decision must be the one that a fold of the log gives, and the number of trials
must be exactly what was asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from analysis.events import EpochReported, Event, SessionStarted
from analysis.log import LOG_FILE, read_log
from analysis.trials import fold_trials
from tests.faults.traced import EPOCH_SECONDS, TRACE
from tests.tune_gate.virtual_cluster import essence
from tune_gate.lock import LOCK_FILE, current_holder
from tune_gate.schedulers import build_scheduler
from tune_gate.spec import study_spec
from tune_gate.study_dir import checkpoint_folder, versions

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("driver", "supervisor", "worker", "raylet", "gcs_server")


@dataclass
class Tally:
    """What the campaign has seen."""

    kills: Counter[str] = field(default_factory=Counter)
    studies: int = 0
    sessions: int = 0
    trials: int = 0
    reports: int = 0
    lost: int = 0
    doubled: int = 0
    wrong_decisions: int = 0
    differing_studies: int = 0
    redone_epochs: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, doubled, wrongly decided or different."""
        return not (self.lost or self.doubled or self.wrong_decisions or self.differing_studies or self.failures)


def spec_of(seed: int, concurrency: int) -> dict[str, Any]:
    """A small study."""
    return {
        "name": f"faults-{seed}",
        "seed": seed,
        "trials": 5,
        "epochs": 9,
        "scheduler": {"rungs": [2, 5]},
        "sampler": {"startup": 3},
        "trainable": "tests.faults.traced:Traced",
        "failures": {"retries": 20},  # kills are not the trials' fault
        "resources": {"local_cpus": concurrency, "concurrency": concurrency},
    }


def start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start `tune-gate` with a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tune_gate", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def run_study(folder: Path, spec: dict[str, Any], generator: random.Random, tally: Tally, kills_left: int) -> None:
    """One study, killed again and again until it has finished or the kills are used up."""
    file = folder.with_suffix(".yaml")
    file.write_text(json.dumps(spec))  # JSON is YAML
    process = start(["launch", str(file), "--dir", str(folder)])
    end = time.monotonic() + 600
    while time.monotonic() < end:
        if kills_left > 0 and strike(folder, process, generator, tally):
            kills_left -= 1
        if process.poll() is None and kills_left <= 0:
            process.wait(timeout=300)
        if process.poll() is None:
            continue
        wait_for_release(folder)
        if finished(folder):
            return
        command = (
            ["resume", str(folder)] if (folder / "study.json").exists() else ["launch", str(file), "--dir", str(folder)]
        )
        process = start(command)
    tally.failures.append(f"study {spec['name']} did not finish in ten minutes")


def strike(folder: Path, process: subprocess.Popen[bytes], generator: random.Random, tally: Tally) -> bool:
    """Kill one process of the search at a random moment; whether there was one to kill."""
    target = generator.choice(TARGETS)
    moment = generator.choice(("early", "busy", "busy", "busy"))
    if moment == "early":
        pause(process, generator.uniform(0.0, 4.0))
    else:
        size = log_size(folder)
        wanted = generator.randint(1, 12)
        for _ in range(400):
            if process.poll() is not None or log_lines(folder, size) >= wanted:
                break
            time.sleep(0.05)
        pause(process, generator.uniform(0.0, EPOCH_SECONDS))
    if process.poll() is not None:
        return False
    victims = [process.pid] if target == "supervisor" else [*pids_of(folder, target)]
    if not victims:
        return False
    try:
        os.kill(generator.choice(victims), signal.SIGKILL)
    except ProcessLookupError:
        return False
    tally.kills[target] += 1
    if target == "supervisor":
        process.wait()
    return True


def pids_of(folder: Path, target: str) -> Iterator[int]:
    """The processes of the driver that holds the study."""
    holder = current_holder(folder) if (folder / LOCK_FILE).exists() else None
    if holder is None:
        return
    if target == "driver":
        yield holder.pid
        return
    try:
        children = psutil.Process(holder.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for child in children:
        try:
            name, command = child.name(), " ".join(child.cmdline())
        except psutil.Error:
            continue
        if (target == "worker" and command.startswith("ray::")) or (target != "worker" and name == target):
            yield child.pid


def pause(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait, but not longer than the process lives."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return


def log_size(folder: Path) -> int:
    """Bytes of the log."""
    path = folder / LOG_FILE
    return path.stat().st_size if path.exists() else 0


def log_lines(folder: Path, since: int) -> int:
    """Lines that the log has gained."""
    path = folder / LOG_FILE
    return path.read_bytes()[since:].count(b"\n") if path.exists() else 0


def wait_for_release(folder: Path) -> None:
    """A driver without a supervisor ends by itself; wait for it."""
    end = time.monotonic() + 90
    while current_holder(folder) is not None:
        if time.monotonic() > end:
            raise TimeoutError(f"{folder} is still held")
        time.sleep(0.1)


def finished(folder: Path) -> bool:
    """Whether every trial has ended."""
    if not (folder / "study.json").exists():
        return False
    trials = fold_trials(read_log(folder / LOG_FILE))
    return len(trials) == 5 and all(trial.ended for trial in trials.values())


def examine(folder: Path, spec: dict[str, Any], whole: list[dict[str, Any]] | None, tally: Tally) -> None:
    """Count what went wrong in a finished study."""
    events = read_log(folder / LOG_FILE)
    trials = fold_trials(events)
    reports = [event for event in events if isinstance(event, EpochReported)]
    seen = Counter((report.trial, report.epoch) for report in reports)
    tally.studies += 1
    tally.sessions += sum(isinstance(event, SessionStarted) for event in events)
    tally.trials += len(trials)
    tally.reports += len(reports)
    tally.doubled += sum(count - 1 for count in seen.values())
    tally.lost += abs(spec["trials"] - len(trials))
    for trial in trials.values():
        tally.lost += len(set(range(1, trial.epoch + 1)) - set(trial.reports))
        trace = checkpoint_folder(folder, trial.number) / TRACE
        if trace.exists():
            tally.redone_epochs += len(trace.read_text().splitlines()) - trial.epoch
        if trial.state == "failed":
            tally.failures.append(f"{spec['name']}: trial {trial.number} was given up: {trial.reason}")
    tally.wrong_decisions += wrong_decisions(spec, events)
    if whole is not None and essence(events) != whole:
        tally.differing_studies += 1


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


def undisturbed(seed: int, root: Path) -> list[dict[str, Any]]:
    """The events of the same study without a kill, one trial at a time."""
    folder = root / f"whole-{seed}"
    file = folder.with_suffix(".yaml")
    file.write_text(json.dumps(spec_of(seed, 1)))
    start(["launch", str(file), "--dir", str(folder)]).wait(timeout=300)
    return essence(read_log(folder / LOG_FILE))


def campaign(kills: int, seed: int) -> Tally:
    """Studies, one after another, until so many kills have been made."""
    generator = random.Random(seed)
    tally = Tally()
    wholes: dict[int, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        while sum(tally.kills.values()) < kills and not tally.failures:
            number = tally.studies
            study_seed, concurrency = number % 3, 1 + number % 2
            spec = spec_of(study_seed, concurrency)
            if concurrency == 1 and study_seed not in wholes:
                wholes[study_seed] = undisturbed(study_seed, root)
            folder = root / f"study-{number}"
            run_study(folder, spec, generator, tally, kills - sum(tally.kills.values()))
            if not tally.failures:
                examine(folder, spec, wholes[study_seed] if concurrency == 1 else None, tally)
            shutil.rmtree(folder, ignore_errors=True)
            print(f"{sum(tally.kills.values())} kills, {tally.studies} studies, clean: {tally.clean}", flush=True)
    return tally


def report(tally: Tally, seed: int, seconds: float) -> str:
    """The campaign's report, as Markdown."""
    kills = sum(tally.kills.values())
    found = versions()
    lines = [
        "# Fault campaign",
        "",
        f"{time.strftime('%Y-%m-%d')}, seed {seed}, {seconds / 60:.0f} min on {os.cpu_count()} cores; "
        f"Python {found['python']}, Ray {found['ray']}, Optuna {found['optuna']}, {platform.system()}.",
        "Written by `python -m tests.faults.campaign`. One machine; no cluster of several nodes.",
        "",
        "| | |",
        "| :--- | ---: |",
        f"| SIGKILLs | {kills} |",
        *(f"| … of the {target.replace('_', ' ')} | {tally.kills[target]} |" for target in TARGETS),
        f"| studies, half with one trial at a time, half with two | {tally.studies} |",
        f"| sessions (launches, restarts and resumes) | {tally.sessions} |",
        f"| trials, of {5 * tally.studies} asked for | {tally.trials} |",
        f"| epochs reported | {tally.reports} |",
        f"| reports or trials lost | {tally.lost} |",
        f"| reports doubled | {tally.doubled} |",
        f"| decisions that differ from a fold of the log | {tally.wrong_decisions} |",
        f"| one-at-a-time studies that differ from the undisturbed one | {tally.differing_studies} |",
        f"| epochs begun and lost, of {EPOCH_SECONDS:g} s each | {tally.redone_epochs} |",
        f"| seconds of work redone per kill | {tally.redone_epochs * EPOCH_SECONDS / max(1, kills):.3f} |",
        *(f"| FAILED: {failure} | |" for failure in tally.failures),
        "",
    ]
    return "\n".join(lines)


def main() -> int:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    started = time.monotonic()
    tally = campaign(options.kills, options.seed)
    text = report(tally, options.seed, time.monotonic() - started)
    print(text)
    if options.report is not None:
        options.report.write_text(text, encoding="utf-8")
    return 0 if tally.clean else 1


if __name__ == "__main__":
    sys.exit(main())
