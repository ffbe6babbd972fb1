"""How much a study may spend: what its spec says, and what it was given later."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from analysis.events import BudgetExtended, Event
from analysis.trials import Trial, TrialsFold
from tune_gate.errors import Misuse
from tune_gate.lock import hold
from tune_gate.recorder import Recorder
from tune_gate.samplers import build_sampler
from tune_gate.spec import StudySpec
from tune_gate.storage import checkpoint_names
from tune_gate.study_dir import read_spec


@dataclass(frozen=True, slots=True)
class Budget:
    """What a study may spend."""

    trials: int
    epochs: int  # of a trial that is never stopped
    rungs: tuple[int, ...]


def current_budget(spec: StudySpec, events: Iterable[Event]) -> Budget:
    """The budget after the last extension in the log."""
    return budgets(spec, events)[-1]


def budgets(spec: StudySpec, events: Iterable[Event]) -> list[Budget]:
    """The budgets that the study has had, that of its launch first."""
    grown = [event for event in events if isinstance(event, BudgetExtended)]
    launched = Budget(spec.trials, spec.epochs, spec.milestones)
    return [launched, *(Budget(event.trials, event.epochs, event.rungs) for event in grown)]


@dataclass(frozen=True, slots=True)
class Extension:
    """What an extension would do, before it is done."""

    budget: Budget
    goes_on: tuple[int, ...]  # completed trials that go on from their last epoch
    retrained: tuple[tuple[int, int], ...]  # completed trials whose last state was not kept, and epochs to do again


def plan_extension(study: Path, trials: int | None, epochs: int | None) -> Extension:
    """What `extend` would do.

    Raises:
        Misuse: the new budget is not larger than the old one.
        SpecError, SpaceError: the sampler cannot suggest so many trials.
        AnalysisError: there is no study that can be read.
    """
    spec = read_spec(study)
    if spec.confirm is not None and epochs is not None:
        raise Misuse("the trials of a confirmation were measured at their last epoch; give more --trials (seeds) only")
    fold = TrialsFold()
    with hold(study), Recorder(study, [fold]) as recorder:
        old = current_budget(spec, recorder.events)
    new = _larger(spec, old, trials, epochs)
    build_sampler(spec.model_copy(update={"trials": new.trials}))  # for its errors
    completed = [trial for trial in fold.trials.values() if trial.state == "completed" and trial.epoch < new.epochs]
    kept = {trial.number: _newest_epoch(study, trial) for trial in completed}
    return Extension(
        new,
        tuple(trial.number for trial in completed if kept[trial.number] == trial.epoch),
        tuple(
            (trial.number, trial.epoch - kept[trial.number]) for trial in completed if kept[trial.number] < trial.epoch
        ),
    )


def extend_study(study: Path, budget: Budget) -> None:
    """Give the study `budget`; `resume` then spends it.

    Raises:
        StudyLocked: a driver holds the study; stop it first.
    """
    with hold(study), Recorder(study) as recorder:
        recorder.append(BudgetExtended(time.time(), budget.trials, budget.epochs, budget.rungs))


def _larger(spec: StudySpec, old: Budget, trials: int | None, epochs: int | None) -> Budget:
    new_trials = old.trials if trials is None else trials
    new_epochs = old.epochs if epochs is None else epochs
    if new_trials < old.trials or new_epochs < old.epochs:
        raise Misuse(f"the study already has {old.trials} trials of {old.epochs} epochs; a budget only grows")
    if (new_trials, new_epochs) == (old.trials, old.epochs):
        raise Misuse(
            f"the study already has {old.trials} trials of {old.epochs} epochs; give more --trials or --epochs"
        )
    return Budget(new_trials, new_epochs, old.rungs + _rungs_above(spec, old, new_epochs))


def _rungs_above(spec: StudySpec, old: Budget, epochs: int) -> tuple[int, ...]:
    """New rungs: the old ladder goes on, above the epochs that completed trials have passed unjudged."""
    if not old.rungs:
        return ()
    found = []
    milestone = old.rungs[-1] * spec.scheduler.reduction_factor
    while milestone < epochs:
        if milestone > old.epochs:
            found.append(milestone)
        milestone *= spec.scheduler.reduction_factor
    return tuple(found)


def _newest_epoch(study: Path, trial: Trial) -> int:
    """The epoch of the newest checkpoint of a trial; 0 where there is none. The name of the file tells it."""
    files = (Path(name) for name in checkpoint_names(study, trial.number) if name.startswith("epoch-"))
    return max((int(file.stem.removeprefix("epoch-")) for file in files), default=0)
