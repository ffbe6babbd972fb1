"""Plausible logs: what a search writes when everything that can happen to it happens at random."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from analysis.event_records import event_to_record
from analysis.events import BudgetExtended, EpochReported, Event
from analysis.log import header_line
from tune_gate.recorder import Fold
from tune_gate.search import Assignment, Search
from tune_gate.spec import StudySpec, study_spec

TRIALS, EPOCHS = 7, 9

SPECS: tuple[dict[str, Any], ...] = (
    {},
    {"sampler": {"kind": "random"}},
    {"scheduler": {"rungs": [2, 4]}, "sampler": {"kind": "tpe", "startup": 2, "explore": 0.0}},
    {"scheduler": {"kind": "full"}, "sampler": {"startup": 3}},
    {"scheduler": {"rungs": [1, 3], "probe": {"share": 0.3}}, "sampler": {"startup": 3}},
    {"scheduler": {"kind": "promotion", "probe": {"share": 0.1, "at": [5]}}, "sampler": {"kind": "tpe", "startup": 3}},
)


class _Journal:
    """A log in memory, which outlives the search that writes it."""

    def __init__(self, events: list[Event]) -> None:
        self.events = list(events)
        self.written = events
        self._folds: list[Fold] = []

    def feed(self, folds: Iterable[Fold]) -> _Journal:
        self._folds = list(folds)
        for event in self.events:
            for fold in self._folds:
                fold.apply(event)
        return self

    def append(self, event: Event) -> None:
        self.written.append(event)
        for fold in self._folds:
            fold.apply(event)

    def retire(self, keys: Iterable[str]) -> None:
        """There is no store."""

    def settle(self) -> None:
        """Nothing is written."""

    def close(self) -> None:
        """Nothing is open."""


class Chaos:
    """Runs sessions of a search, with workers that finish, fail, diverge, are cut off and report twice."""

    def __init__(self, spec: StudySpec, seed: int) -> None:
        self._spec = spec
        self._random = random.Random(seed)
        self._now = 1.0e9
        self._epochs = spec.epochs
        self.events: list[Event] = []

    def session(self, steps: int) -> None:
        """One session: it ends by itself, is told to stop, or is killed after so many steps."""
        search = Search(
            self._spec, Path(), clock=self._clock, journal=lambda _, folds: _Journal(self.events).feed(folds)
        )
        search.begin("host", 1, {"python": "3.11"})
        running: dict[int, tuple[Assignment, int]] = {}
        for step in range(steps):
            while len(running) < 3 and (assignment := search.next_assignment()) is not None:
                running[assignment.trial] = (assignment, self._first_epoch(assignment))
            if not running:
                break
            self._step(search, running)
            if step > steps // 2 and self._random.random() < 0.03:
                search.request_stop()
        if not running or self._random.random() < 0.3:
            search.end("" if self._random.random() < 0.8 else "RuntimeError: the cluster is gone")

    def extend(self) -> None:
        """More trials and more epochs."""
        self._epochs *= 3
        rungs = (*self._spec.milestones, *([EPOCHS] if self._spec.milestones else []))
        self.events.append(BudgetExtended(self._clock(), TRIALS + 2, self._epochs, rungs))

    def _step(self, search: Search, running: dict[int, tuple[Assignment, int]]) -> None:
        trial = self._random.choice(sorted(running))
        assignment, epoch = running[trial]
        chance = self._random.random()
        if chance < 0.06:
            search.fail(trial, assignment.attempt, self._random.choice(("error", "lost")), "it broke", "Traceback …")
            del running[trial]
            return
        if chance < 0.1:
            search.warn("a checkpoint is damaged", trial)
        action = search.report(trial, assignment.attempt, epoch + 1, self._metrics(assignment, epoch + 1))
        running[trial] = (assignment, epoch + 1)
        if action != "continue":
            del running[trial]

    def _first_epoch(self, assignment: Assignment) -> int:
        """The newest checkpoint may be damaged, and then the trial begins further back."""
        return assignment.from_epoch if self._random.random() < 0.8 else self._random.randint(0, assignment.from_epoch)

    def _metrics(self, assignment: Assignment, epoch: int) -> dict[str, float]:
        value = self._random.choice((0.5, self._random.random()))  # ties are common among few images
        diverged = self._random.random() < 0.02
        lost_for_words = self._random.random() < 0.01
        probe = {"probe_val_acc": self._random.choice((math.nan, value, self._random.random())), "probe_seconds": 0.5}
        return {
            **(probe if epoch in assignment.probed else {}),
            "val_acc": math.nan if lost_for_words else value * (1 - math.exp(-epoch / 2)),
            "val_loss": math.nan if diverged or self._random.random() < 0.05 else 1.0 - value,
            "diverged": float(diverged),
            "seconds": 1.0,
            "val_images": 100.0,
        }

    def _clock(self) -> float:
        self._now += 0.25
        return self._now


@st.composite
def studies(draw: st.DrawFn) -> tuple[StudySpec, list[Event]]:
    """A spec, and the events of a study of it."""
    spec = study_spec({"trials": TRIALS, "epochs": EPOCHS, "failures": {"retries": 1}, **draw(st.sampled_from(SPECS))})
    chaos = Chaos(spec, draw(st.integers(0, 2**32)))
    for steps in draw(st.lists(st.integers(1, 60), min_size=1, max_size=4)):
        chaos.session(steps)
    if draw(st.booleans()):
        chaos.extend()
        chaos.session(draw(st.integers(1, 60)))
    return spec, with_repeats(chaos.events, draw(st.lists(st.floats(0, 1, exclude_max=True), max_size=3)))


def with_repeats(events: list[Event], where: list[float]) -> list[Event]:
    """The same log with some of its reports written twice, as after a network that delivers twice."""
    repeated = list(events)
    for share in where:
        index = int(share * len(repeated))
        if isinstance(repeated[index], EpochReported):
            repeated.insert(index, repeated[index])
    return repeated


def log_bytes(events: list[Event]) -> bytes:
    """The log as a file holds it."""
    import json

    return header_line() + b"".join(json.dumps(event_to_record(event)).encode() + b"\n" for event in events)
