"""A search in virtual time: no Ray, but the real log, the real folds, and workers that train by arithmetic."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from analysis.event_records import event_to_record
from analysis.events import EpochReported, Event, TrialSuggested
from tune_gate.search import Assignment, Search
from tune_gate.spec import StudySpec


def probe_of(settings: Mapping[str, Any], epoch: int) -> dict[str, float]:
    """What a probe of that epoch would say: nearer to the plateau, with a noise of its own."""
    noise = random.Random(f"probe {settings['seed']}/{epoch}").random()
    return {"probe_val_acc": 0.9 - 0.1 * abs(math.log10(settings["lr"]) + 1) + 0.02 * noise, "probe_seconds": 0.25}


def metrics_of(settings: Mapping[str, Any], epoch: int) -> dict[str, float]:
    """What training would say: a pure function of the settings (seed included) and the epoch."""
    noise = random.Random(f"{settings['seed']}/{epoch}").random()
    plateau = 0.9 - 0.1 * abs(math.log10(settings["lr"]) + 1)
    return {
        "val_acc": plateau * (1 - math.exp(-epoch / 2)) + 0.02 * noise,
        "diverged": float(settings["lr"] > 0.45),
        "seconds": 1.0,
        "val_images": 100.0,
    }


class Killed(Exception):  # noqa: N818
    """The process that held the search died here."""


@dataclass
class Cluster:
    """Runs a search with some workers that finish their epochs in an order drawn from a seed."""

    spec: StudySpec
    folder: Path
    workers: int = 1
    order: random.Random = field(default_factory=lambda: random.Random(0))
    survive: Callable[[], None] = lambda: None  # raises Killed where the driver is to die

    def run(self, stop_after: int | None = None) -> None:
        """One session, to its end or to the driver's death."""
        search = Search(self.spec, self.folder, clock=lambda: 0.0)
        running: dict[int, tuple[Assignment, int]] = {}
        reports = 0
        try:
            search.begin("host", 1, {})
            while True:
                while len(running) < self.workers and (assignment := search.next_assignment()) is not None:
                    running[assignment.trial] = (assignment, assignment.from_epoch)
                    self.survive()
                if not running:
                    break
                trial = self.order.choice(sorted(running))
                assignment, epoch = running[trial]
                metrics = metrics_of(assignment.settings, epoch + 1)
                if epoch + 1 in assignment.probed:
                    metrics |= probe_of(assignment.settings, epoch + 1)
                action = search.report(trial, assignment.attempt, epoch + 1, metrics)
                self.survive()
                running[trial] = (assignment, epoch + 1)
                if action != "continue":
                    del running[trial]
                reports += 1
                if reports == stop_after:
                    search.request_stop()
            search.end()
        finally:
            search.close()


def essence(events: list[Event]) -> list[dict[str, Any]]:
    """The log without what a restart adds: sessions, attempts and times, and that a trial was to go on later."""
    kept = []
    for event in events:
        if isinstance(event, TrialSuggested | EpochReported):
            record = event_to_record(event)
            record.pop("time")
            record.pop("attempt", None)
            if record.get("action") == "interrupt":
                record["action"] = "continue"
            kept.append(record)
    return kept


def dies_at(moment: int) -> Callable[[], None]:
    """For `Cluster.survive`: the driver dies when it is asked for the time of that number, from 0."""
    left = iter(range(moment))

    def survive() -> None:
        if next(left, None) is None:
            raise Killed

    return survive


def run_killed(
    spec: StudySpec, folder: Path, kills: Iterable[int], workers: int = 1, order: random.Random | None = None
) -> None:
    """Sessions that die at these moments, one after another; none to the end."""
    order = order or random.Random(0)
    for moment in kills:
        try:
            Cluster(spec, folder, workers, order, dies_at(moment)).run()
        except Killed:
            continue
