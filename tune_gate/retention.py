"""Which checkpoints are kept: those of live trials, and of the best of the ended ones."""

from __future__ import annotations

import heapq
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from analysis.trials import Trial
from tune_gate.spec import StudySpec
from tune_gate.study_dir import checkpoint_folder


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
        for trial in trials:
            if trial.ended:
                self.end(trial)

    def end(self, trial: Trial) -> None:
        """Take in that `trial` has ended."""
        report = trial.best(self._metric)
        if trial.state not in ("completed", "stopped") or report is None:
            self._drop(trial.number)
            return
        heapq.heappush(self._kept, (report.metrics[self._metric], -trial.number))
        if len(self._kept) > self._best:
            _, number = heapq.heappop(self._kept)
            self._drop(-number)

    def _drop(self, trial: int) -> None:
        shutil.rmtree(checkpoint_folder(self._study, trial), ignore_errors=True)
