"""Auditing a study's checkpoints: those that its log counts on are there, load, and are their trials'."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.events import Event
from analysis.trials import Trial, fold_trials
from trainables.errors import CheckpointError
from tune_gate.spec import StudySpec
from tune_gate.study_dir import checkpoint_folder

#: The trainable whose checkpoints this version can read.
READABLE = "trainables.tune_trainable:GatedResNetTrainable"


@dataclass(frozen=True, slots=True)
class CheckpointFindings:
    """What an audit of a study's checkpoints found."""

    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    loaded: int = 0  # files


def verify_checkpoints(spec: StudySpec, study: Path, events: Sequence[Event]) -> CheckpointFindings:
    """Load every checkpoint of `study` that a trial can go on from, and every best model."""
    trials = list(fold_trials(events).values())
    if spec.trainable != READABLE:
        return CheckpointFindings(notes=(f"checkpoints were not checked: {spec.trainable} has a format of its own",))
    audit = _Audit(spec, study)
    differences = [message for trial in trials for message in audit.of_trial(trial)]
    return CheckpointFindings(tuple(differences), tuple(_notes(audit)), audit.loaded)


class _Audit:
    """Goes through the trials, and counts on the way."""

    def __init__(self, spec: StudySpec, study: Path) -> None:
        self._study = study
        self._every = spec.checkpoints.every
        self.loaded = 0
        self.without_best: list[int] = []  # ended trials
        self.to_retrain: list[int] = []  # trials that had completed, and of which no state was kept

    def of_trial(self, trial: Trial) -> Iterator[str]:
        """What is wrong with a trial's checkpoints."""
        from trainables.checkpoints import BEST  # noqa: PLC0415  torch is slow to import

        best = checkpoint_folder(self._study, trial.number) / BEST
        if best.exists():
            yield from self._load(best, trial)
        elif trial.ended and trial.reports:
            self.without_best.append(trial.number)
        if not trial.ended:
            yield from self._states(trial)

    def _states(self, trial: Trial) -> Iterator[str]:
        from trainables.checkpoints import CheckpointFolder  # noqa: PLC0415

        folder = CheckpointFolder(checkpoint_folder(self._study, trial.number))
        whole = 0
        for path in folder.newest_first(trial.epoch):
            wrong = list(self._load(path, trial))
            yield from wrong
            whole += not wrong
        if whole or trial.epoch < self._every:
            return
        if trial.last is not None and trial.last.action == "complete":
            self.to_retrain.append(trial.number)  # it had completed when the budget grew: `extend` said so
            return
        yield (
            f"trial {trial.number} has reported {trial.epoch} epochs, and no checkpoint of it up to there can be "
            f"loaded from {folder.path}; it would begin again"
        )

    def _load(self, path: Path, trial: Trial) -> Iterator[str]:
        """What is wrong with the checkpoint at `path`."""
        from trainables.checkpoints import load_model  # noqa: PLC0415

        try:
            saved = load_model(path)
        except CheckpointError as error:
            yield str(error)
            return
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            yield f"{path} is damaged: its parts do not fit together ({type(error).__name__})"
            return
        self.loaded += 1
        made_with = saved.config.model_dump(mode="json")
        for name, value in {**trial.settings, "seed": trial.seed}.items():
            if made_with.get(name) != value:
                yield f"{path} was made with {name} {made_with.get(name)!r}; trial {trial.number} has {value!r}"
                return


def _notes(audit: _Audit) -> Iterator[str]:
    if audit.without_best:
        yield f"ended trials of which no best model is kept: {_ranges(audit.without_best)}"
    if audit.to_retrain:
        yield f"completed trials of which no state is kept, which would be retrained: {_ranges(audit.to_retrain)}"


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers, runs of them joined: 1, 3-7, 9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
