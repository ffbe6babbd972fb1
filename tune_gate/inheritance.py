"""Earlier trials as the history of a new study: what fits its space is told to its sampler, and nothing else.

The new study's scheduler judges its own trials only, its tables show its own trials only, and the points that every
study tries first (the plain default, the authors' own settings) are tried however much is inherited.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from analysis.copies import shown
from analysis.events import Event, InheritedState, TrialInherited, Warned
from analysis.study import Study, open_study
from analysis.trials import Trial
from search_spaces.errors import SpaceError
from tune_gate.budget import budgets, current_budget
from tune_gate.errors import Misuse
from tune_gate.spec import NAME, StudySpec, load_spec
from tune_gate.study_dir import SPEC_FILE, given_settings, read_spec

#: Settings in which trials of one kind may differ; `epochs` is a fidelity, and is told with the values.
_MAY_DIFFER = ("epochs", "seed", "data_dir")

#: What the sampler makes of a trial, by its state. One that has not ended is like one that was stopped where it is; one
#: that failed says nothing about its settings.
_STATES: Mapping[str, InheritedState] = {
    "completed": "completed",
    "stopped": "stopped",
    "running": "stopped",
    "waiting": "stopped",
    "paused": "stopped",
    "diverged": "diverged",
}

#: Trials that one reason names, at most.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a new study takes over from an earlier one."""

    source: Path
    trials: tuple[TrialInherited, ...]
    unfit: Mapping[str, tuple[int, ...]]  # by reason: the source's trials that were not taken

    def __str__(self) -> str:
        """In one line, for the screen and, where a trial was left out, for the log."""
        refused = sum(map(len, self.unfit.values()))
        line = f"{len(self.trials)} of {len(self.trials) + refused} trials of {self.source} are history here"
        reasons = "; ".join(f"{_numbers(trials)}: {reason}" for reason, trials in self.unfit.items())
        return f"{line}; left out: {reasons}" if reasons else line


def inherit(spec: StudySpec, sources: Sequence[Path]) -> list[Inheritance]:
    """What a new study of `spec` takes over from each of `sources`; a trial that two of them tell of counts once.

    Raises:
        StudyNotFound, SchemaUnknown, LogCorrupt, AnalysisError: a source cannot be read.
        Misuse: a source's trials are of another kind: another trainable, or another metric.
    """
    found: list[Inheritance] = []
    known: set[tuple[str, int]] = set()
    for source in sources:
        inheritance = _inherit(spec, source)
        fresh = tuple(trial for trial in inheritance.trials if _origin(trial) not in known)
        known.update(map(_origin, fresh))
        found.append(replace(inheritance, trials=fresh))
    return found


def first_events(inheritances: Iterable[Inheritance]) -> list[Event]:
    """The events with which the new study's log begins."""
    events: list[Event] = []
    for inheritance in inheritances:
        events += inheritance.trials
        if inheritance.unfit:
            events.append(Warned(time.time(), str(inheritance)))
    return events


def forked_settings(source: Path, name: str) -> dict[str, Any]:
    """The settings of a fork of the study in `source`: those of its study.yaml as it is now, under `name`.

    A budget that `source` had and has outgrown is the present one: `extend` does not write to the file.

    Raises:
        Misuse: the study is a confirmation, which has no sampler to tell anything.
        StudyNotFound, AnalysisError, SpecError: there is no study, or none that can be read.
    """
    launched = read_spec(source)
    if launched.confirm is not None:
        raise Misuse(f"{source} is a confirmation and not a search; fork the search that it confirms")
    study = open_study(source)
    path = study.path / SPEC_FILE
    given = given_settings(load_spec(path)) if path.exists() else launched.to_record()
    had = budgets(launched, study.events)
    for entry in ("trials", "epochs"):
        if given.get(entry) in {None, *(getattr(budget, entry) for budget in had)}:
            given[entry] = getattr(had[-1], entry)
    return {**given, "name": name if re.fullmatch(NAME, name) else launched.name}


def _inherit(spec: StudySpec, source: Path) -> Inheritance:
    old = read_spec(source)
    if (old.trainable, old.metric) != (spec.trainable, spec.metric):
        raise Misuse(
            f"no trial of {source} can be history here: it ran {old.trainable} for {old.metric}, and this study is to "
            f"run {spec.trainable} for {spec.metric}"
        )
    study = open_study(source)
    fixed = study.spec.base_config
    taken: list[TrialInherited] = []
    unfit: dict[str, list[int]] = {}
    for candidate in (*_own(spec, old, study), *_handed_on(study.events)):
        if isinstance(candidate, _Unfit):
            unfit.setdefault(candidate.reason, []).append(candidate.trial)
            continue
        try:
            point = _point_of(spec, {**fixed, **candidate.settings})
        except SpaceError as error:
            unfit.setdefault(str(error), []).append(candidate.source_trial)
        else:
            taken.append(replace(candidate, settings=point))
    return Inheritance(source, tuple(taken), {reason: tuple(trials) for reason, trials in unfit.items()})


@dataclass(frozen=True, slots=True)
class _Unfit:
    trial: int
    reason: str


def _own(spec: StudySpec, old: StudySpec, study: Study) -> Iterator[TrialInherited | _Unfit]:
    """The trials that the study ran itself, with its own settings."""
    epochs = current_budget(old, study.events).epochs
    rungs = {*spec.milestones, spec.epochs, *current_budget(old, study.events).rungs}
    where = shown(study.path.resolve())
    for trial in study.records.values():
        if trial.state not in _STATES:
            yield _Unfit(trial.number, "it failed, which says nothing about its settings")
        elif not trial.reports:
            yield _Unfit(trial.number, "it has reported no epoch")
        else:
            values = _values(spec, trial, rungs)
            state = _STATES[trial.state]
            yield TrialInherited(time.time(), where, trial.number, trial.settings, state, epochs, values)


def _handed_on(events: Iterable[Event]) -> Iterator[TrialInherited]:
    """The trials that the study inherited itself."""
    for event in events:
        if isinstance(event, TrialInherited):
            yield event


def _values(spec: StudySpec, trial: Trial, rungs: Iterable[int]) -> tuple[tuple[int, float], ...]:
    """The metric at the rungs of both studies and at the last epoch; nothing of a trial that diverged.

    Where rungs here compare probes, a value at a rung is the trial's probe there; without one it has no value there.
    """
    if trial.state == "diverged":
        return ()
    epochs = sorted(trial.reports.keys() & {*rungs, trial.epoch})
    names = {epoch: spec.rung_metric if epoch < spec.epochs else spec.metric for epoch in epochs}
    found = {epoch: trial.reports[epoch].metrics.get(name) for epoch, name in names.items()}
    return tuple((epoch, value) for epoch, value in found.items() if value is not None)


def _point_of(spec: StudySpec, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The point of the new space that a trial with these full settings is.

    Raises:
        SpaceError: there is none, or the trial differs in what the new study fixes.
    """
    here = spec.base_config.model_dump(mode="json")
    for name, value in settings.items():
        if name in spec.search_space.names or name in _MAY_DIFFER:
            continue
        if value != here.get(name):
            raise SpaceError(f"{name} is {value!r} there and {here.get(name)!r} here")
    return dict(json.loads(json.dumps(spec.search_space.restricted(settings))))


def _origin(trial: TrialInherited) -> tuple[str, int]:
    return trial.study, trial.source_trial


def _numbers(trials: Sequence[int]) -> str:
    listed = ", ".join(map(str, trials[:_NAMED]))
    more = f" and {len(trials) - _NAMED} more" if len(trials) > _NAMED else ""
    return f"trial{'' if len(trials) == 1 else 's'} {listed}{more}"
