"""Which checkpoints are kept: those of live trials, and of the best of the ended ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from analysis.trials import Trial
from tune_gate.study_dir import checkpoint_folder


def drop_checkpoints(study: Path, trials: Iterable[Trial], metric: str, best: int) -> list[int]:
    """Delete the checkpoints of ended trials that are not among the `best`; the numbers of those trials.

    A trial that diverged or failed has nothing worth keeping.
    """
    ended = [trial for trial in trials if trial.ended]
    worth = [trial for trial in ended if trial.state in ("completed", "stopped")]
    worth.sort(key=lambda trial: (-_value(trial, metric), trial.number))
    kept = {trial.number for trial in worth[:best]}
    dropped = [trial.number for trial in ended if trial.number not in kept]
    for number in dropped:
        shutil.rmtree(checkpoint_folder(study, number), ignore_errors=True)
    return dropped


def _value(trial: Trial, metric: str) -> float:
    report = trial.best(metric)
    return float("-inf") if report is None else report.metrics[metric]
