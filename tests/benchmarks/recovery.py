"""What recovery costs, and what the log costs.

    python -m tests.benchmarks.recovery [--trials 5000] [--repeats 5]

1. From opening the log of a study of 5,000 trials to the first suggestion of a new trial: reading, folding (trials,
   rungs, sampler's history, deaths), and the draw. Wanted: 5 s.
2. The share of the driver's time that the log takes at 200 reports a second, with the flushing of production.
   Wanted: 5 %.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from analysis.events import Event
from tests.tune_gate.test_search import metrics_of
from tune_gate.recorder import Fold, Recorder
from tune_gate.replay.simulation import MemoryLog
from tune_gate.search import Assignment, Search
from tune_gate.spec import StudySpec, study_spec
from tune_gate.study_dir import versions

REPORTS_PER_SECOND = 200
LOOK_AROUND_SECONDS = 1.0


def synthetic_study(trials: int, kind: str) -> tuple[StudySpec, list[Event]]:
    """A study of so many ended trials, as a search of 16 workers writes it; one trial more is asked for.

    The settings are drawn at random, since no more is needed for a history, and TPE would take its time.
    """
    asked = {"trials": trials + 1, "epochs": 27}
    journals: list[MemoryLog] = []

    def journal(study: Path, folds: Iterable[Fold]) -> MemoryLog:
        journals.append(MemoryLog(study, folds))
        return journals[0]

    writer = study_spec({**asked, "trials": trials, "sampler": {"kind": "random"}})
    search = Search(writer, Path(), clock=lambda: 0.0, journal=journal)
    search.begin("host", 1, {})
    order = random.Random(0)
    running: dict[int, tuple[Assignment, int]] = {}
    while True:
        while len(running) < 16 and (assignment := search.next_assignment()) is not None:
            running[assignment.trial] = (assignment, 0)
        if not running:
            break
        trial = order.choice(list(running))
        assignment, epoch = running[trial]
        action = search.report(trial, assignment.attempt, epoch + 1, metrics_of(assignment.settings, epoch + 1))
        running[trial] = (assignment, epoch + 1)
        if action != "continue":
            del running[trial]
    search.end()
    return study_spec({**asked, "sampler": {"kind": kind, "explore": 0.0}}), journals[0].events


def write_study(folder: Path, events: list[Event]) -> int:
    """Write the log of `events`; its size in bytes."""
    import json

    from analysis.event_records import event_to_record
    from analysis.log import LOG_FILE, header_line

    path = folder / LOG_FILE
    path.parent.mkdir(parents=True)
    lines = (json.dumps(event_to_record(event), separators=(",", ":")).encode() + b"\n" for event in events)
    path.write_bytes(header_line() + b"".join(lines))
    return path.stat().st_size


def recovery_seconds(spec: StudySpec, folder: Path) -> tuple[float, float, float]:
    """Seconds until the log is folded, from there until the first new suggestion is recorded; and all, of a CPU."""
    started, cpu = time.perf_counter(), time.process_time()
    search = Search(spec, folder)
    folded = time.perf_counter()
    search.begin("host", 1, {})
    assignment = search.next_assignment()
    suggested = time.perf_counter()
    search.close()
    assert assignment is not None
    assert assignment.trial == spec.trials
    return folded - started, suggested - folded, time.process_time() - cpu


class TimedRecorder(Recorder):
    """Production's recorder with a clock: how long writing took, the folds left out."""

    def __init__(self, study: Path, folds: Iterable[Fold] = ()) -> None:
        super().__init__(study)
        self.written = 0.0
        self._later = list(folds)

    def settle(self) -> None:
        started = time.perf_counter()
        super().settle()
        self.written += time.perf_counter() - started

    def append(self, event: Event) -> None:
        started = time.perf_counter()
        super().append(event)
        self.written += time.perf_counter() - started
        for fold in self._later:
            fold.apply(event)


def log_share(folder: Path, seconds: float) -> tuple[float, float, int]:
    """Reports arrive REPORTS_PER_SECOND times a second for so long: the log's share of the wall-clock time, the share
    of everything that the search does, and the number of reports.
    """
    recorders: list[TimedRecorder] = []

    def journal(study: Path, folds: Iterable[Fold]) -> TimedRecorder:
        recorders.append(TimedRecorder(study, folds))
        return recorders[0]

    spec = study_spec({"trials": 10**6, "epochs": 27, "sampler": {"kind": "random"}})
    search = Search(spec, folder, journal=journal)
    search.begin("host", 1, {})
    running: dict[int, tuple[Assignment, int]] = {}
    order = random.Random(0)
    begun = time.perf_counter()
    busy, reports, settled = 0.0, 0, 0.0
    while (now := time.perf_counter() - begun) < seconds:
        if now < reports / REPORTS_PER_SECOND:
            time.sleep(reports / REPORTS_PER_SECOND - now)
        started = time.perf_counter()
        while len(running) < 16 and (assignment := search.next_assignment()) is not None:
            running[assignment.trial] = (assignment, 0)
        trial = order.choice(list(running))
        assignment, epoch = running[trial]
        action = search.report(trial, assignment.attempt, epoch + 1, metrics_of(assignment.settings, epoch + 1))
        running[trial] = (assignment, epoch + 1)
        if action != "continue":
            del running[trial]
        reports += 1
        if now > settled + LOOK_AROUND_SECONDS:  # as the driver does
            search.settle()
            settled = now
        busy += time.perf_counter() - started
    whole = time.perf_counter() - begun
    search.close()
    return recorders[0].written / whole, busy / whole, reports


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each measurement of the log's share")
    parser.add_argument("--dir", type=Path, help="where the studies are written; the disk matters")
    given = parser.parse_args()
    found = versions()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"Python {found['python']}, Optuna {found['optuna']}, NumPy {found['numpy']}"
    )
    for kind in ("random", "tpe"):
        spec, events = synthetic_study(given.trials, kind)
        times = []
        for _ in range(given.repeats):
            with tempfile.TemporaryDirectory(dir=given.dir) as name:
                size = write_study(Path(name), events)
                times.append(recovery_seconds(spec, Path(name)))
        folded, drawn, cpu = ([measured[index] for measured in times] for index in range(3))
        print(
            f"{kind}: {given.trials} trials, {len(events)} events, {size / 1e6:.1f} MB; n = {len(times)}; to the fold "
            f"{statistics.median(folded):.2f} s ({min(folded):.2f}-{max(folded):.2f}), from there to the first new "
            f"suggestion {statistics.median(drawn):.2f} s ({min(drawn):.2f}-{max(drawn):.2f}); in all "
            f"{statistics.median(cpu):.2f} s of a CPU"
        )
    shares = []
    for _ in range(given.repeats):
        with tempfile.TemporaryDirectory(dir=given.dir) as name:
            shares.append(log_share(Path(name), given.seconds))
    logs, busy = ([share[index] for share in shares] for index in (0, 1))
    print(
        f"log: n = {len(shares)} times {given.seconds:g} s at {REPORTS_PER_SECOND} reports/s ("
        f"{min(share[2] for share in shares)}-{max(share[2] for share in shares)} reports); the log takes "
        f"{statistics.median(logs):.2%} ({min(logs):.2%}-{max(logs):.2%}) of the driver's time, all of the search "
        f"{statistics.median(busy):.2%}"
    )


if __name__ == "__main__":
    main()
