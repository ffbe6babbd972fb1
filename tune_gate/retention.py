"""Which checkpoints are kept: those of live trials, and of the best of the ended ones."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterable
from pathlib import Path

from analysis.trials import Trial
from tune_gate.spec import StudySpec
from tune_gate.storage import drop_checkpoints


def kept_ones(spec: StudySpec) -> int:
    """How many ended trials of a study keep their checkpoints: in a confirmation all, since each will be measured."""
    return spec.checkpoints.best if spec.confirm is None else sys.maxsize


class Retention:
    """Keeps the checkpoints of the `best` ended trials of a study and deletes those of the other ended ones.

    A trial that diverged or failed has nothing worth keeping.
    """

    def __init__(self, study: Path, metric: str, best: int, trials: Iterable[Trial] = ()) -> None:
        self._study = study
        self._metric = metric
        self._best = best
        self._kept: list[tuple[float, int]] = []  # a heap: the worst first; of equals, the later trial first
        self._doomed: list[int] = []  # trials whose checkpoints go with the next sweep
        self._seen: set[int] = set()  # ended trials that were taken in
        self.take_in(trials)
        self.sweep()  # the log has been on the disk for long

    def take_in(self, trials: Iterable[Trial]) -> None:
        """Take in which of `trials` have ended, whatever ended them: a report, a failure too many, the search's end."""
        for trial in trials:
            if trial.ended and trial.number not in self._seen:
                self._seen.add(trial.number)
                surplus = self._surplus(trial)
                if surplus is not None:
                    self._doomed.append(surplus)

    def sweep(self) -> None:
        """Delete what is not kept. The log must be on the disk: what a power cut leaves of it may count on that."""
        if self._doomed:
            drop_checkpoints(self._study, self._doomed)
            self._doomed = []

    def _surplus(self, trial: Trial) -> int | None:
        """The trial whose checkpoints go when `trial` has ended: itself, another, or none."""
        report = trial.best(self._metric)
        if trial.state not in ("completed", "stopped") or report is None:
            return trial.number
        heapq.heappush(self._kept, (report.metrics[self._metric], -trial.number))
        return -heapq.heappop(self._kept)[1] if len(self._kept) > self._best else None
