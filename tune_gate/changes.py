"""What changed under a study since its launch: its study.yaml, and the code that its trials run.

What would mix results of two kinds in one table is refused; what would not is taken over, and recorded. Studies that
were made before there were fingerprints have nothing to compare their code with, and go on as they did.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.events import CodeAccepted, Event, ResourcesChosen, SpecChanged, Warned
from analysis.log import LOG_FILE, read_log
from analysis.study import STUDY_FILE
from tune_gate.budget import Budget, budgets, extend_study, plan_extension
from tune_gate.dotted import flat_settings, with_changes
from tune_gate.errors import Misuse
from tune_gate.fingerprint import accepted_fingerprints, changed_files, code_fingerprints
from tune_gate.lock import hold
from tune_gate.recorder import Recorder
from tune_gate.spec import StudySpec, parse_spec, study_spec
from tune_gate.study_dir import SPEC_FILE, given_settings, read_spec, with_absolute_paths

#: What a study may change on its way: it decides where and how trials run, and not what they are.
FREE = ("resources.", "checkpoints.", "failures.", "observers", "config.data_dir")

#: Files that one message names, at most.
_NAMED = 6

_BUDGET = ("trials", "epochs")


@dataclass(frozen=True, slots=True)
class Edit:
    """A setting whose value in study.yaml is no longer the study's."""

    key: str  # dotted
    before: Any
    now: Any

    @property
    def free(self) -> bool:
        """Whether it may change without mixing results."""
        return self.key.startswith(FREE)

    def __str__(self) -> str:
        return f"{self.key} {_shown(self.before)} → {_shown(self.now)}"


@dataclass(frozen=True, slots=True)
class Edits:
    """What was edited in a study.yaml since it was last taken over."""

    settings: tuple[Edit, ...] = ()
    trials: int | None = None  # a larger number of them, or None
    epochs: int | None = None

    @property
    def refused(self) -> tuple[Edit, ...]:
        """What would mix results."""
        return tuple(edit for edit in self.settings if not edit.free)


def current_spec(spec: StudySpec, events: Iterable[Event]) -> StudySpec:
    """The specification with what was changed since the launch."""
    for event in events:
        if isinstance(event, SpecChanged | ResourcesChosen):
            spec = study_spec(with_changes(spec.model_dump(mode="json"), event.settings))
    return spec


def take_over_edits(study: Path, events: Sequence[Event]) -> list[str]:
    """Record what was edited in study.yaml and may be; a line for each thing that changed.

    Raises:
        Misuse: an edit would mix results, or shrink the budget, or have trials retrained; nothing was recorded.
        SpecError: study.yaml is no valid study any more.
    """
    edits = edits_of(study, events)
    if edits.refused:
        listed = "; ".join(map(str, edits.refused))
        raise Misuse(
            f"{study / SPEC_FILE} was edited, and the study would hold results of two kinds: {listed}; put it back, or "
            f"begin a study that takes these trials as its history: `tune-gate fork {study} NEW`"
        )
    grown = _larger_budget(study, edits)
    if edits.settings:
        with hold(study), Recorder(study) as recorder:
            recorder.append(SpecChanged(time.time(), {edit.key: edit.now for edit in edits.settings}))
    if grown is not None:
        extend_study(study, grown)
    lines = [f"changed in {SPEC_FILE}: {edit}" for edit in edits.settings]
    if grown is not None:
        lines.append(f"changed in {SPEC_FILE}: the budget is now {grown.trials} trials of up to {grown.epochs} epochs")
    return lines


def edits_of(study: Path, events: Sequence[Event]) -> Edits:
    """What was edited in study.yaml since it was last taken over.

    Raises:
        Misuse: the budget is smaller than it was.
        SpecError: study.yaml is no valid study any more.
    """
    try:
        text = (study / SPEC_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return Edits()
    spec = current_spec(read_spec(study), events)
    edited = given_settings(with_absolute_paths(parse_spec(text, str(study / SPEC_FILE))))
    touched = _touched(study, edited, events)
    if not touched:
        return Edits()
    as_launched = {name: getattr(spec, name) for name in _BUDGET}  # a larger budget leaves the rungs where they are
    wanted = study_spec(_with_choice({**edited, **as_launched}, read_spec(study), events)).to_record()
    before, now = flat_settings(_only(touched, spec.to_record())), flat_settings(_only(touched, wanted))
    known = budgets(spec, events)
    larger = {
        name: _larger(name, edited[name], [getattr(budget, name) for budget in known])
        for name in _BUDGET
        if name in touched and name in edited
    }
    return Edits(
        tuple(
            Edit(key, before.get(key), now.get(key))
            for key in sorted(before.keys() | now.keys())
            if key not in _BUDGET and before.get(key) != now.get(key)
        ),
        **larger,
    )


def refuse_changed_code(study: Path, events: Iterable[Event]) -> None:
    """Let nobody mix results of two versions of the code unawares.

    Raises:
        Misuse: files differ from those of the launch, and nobody has accepted that.
    """
    changed = code_changes(study, events)
    if changed:
        raise Misuse(
            f"the code that trials run has changed since the study began: {_listed(changed)}; results could differ for "
            f"that reason alone; put it back, or go on all the same: `tune-gate resume {study} --accept-code`"
        )


def accept_code(study: Path) -> str | None:
    """Let the study go on with the code as it is now, and say so in its log; a line about it, None if it is the same.

    Raises:
        StudyLocked: a driver holds the study.
    """
    changed = code_changes(study, read_log(study / LOG_FILE))
    if not changed:
        return None
    message = f"goes on with changed code: {_listed(changed)}; results before and after may differ for that reason"
    with hold(study), Recorder(study) as recorder:
        recorder.append(Warned(time.time(), message))
        recorder.append(CodeAccepted(time.time(), changed))
    return message


def code_changes(study: Path, events: Iterable[Event]) -> dict[str, str | None]:
    """The files that differ from what the study may run; none for a study that was made without fingerprints."""
    launched = _record(study).get("code")
    if launched is None:
        return {}
    now = code_fingerprints(read_spec(study).trainable)
    return changed_files(accepted_fingerprints(launched, events), now)


def version_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is installed otherwise than it was, each as `torch 2.14.0 → 2.14.1`."""
    return [f"{name} {before[name]} → {now.get(name, 'none')}" for name in before if before[name] != now.get(name)]


def _with_choice(edited: Mapping[str, Any], spec: StudySpec, events: Iterable[Event]) -> dict[str, Any]:
    """`edited`, with what was measured for the amounts that it leaves to a measurement, as the study did before."""
    wanted = study_spec(edited).resources
    choice: ResourcesChosen | None = None
    for event in events:
        if isinstance(event, ResourcesChosen):
            choice = event if spec.resources.auto == wanted.auto else None
        spec = current_spec(spec, [event])
    if choice is None or not wanted.auto:
        return dict(edited)
    fixed = {f"resources.{name}" for name in wanted.model_fields_set - {"auto", *wanted.auto}}
    return with_changes(edited, {key: value for key, value in choice.settings.items() if key not in fixed})


def _touched(study: Path, edited: Mapping[str, Any], events: Iterable[Event]) -> set[str]:
    """The sections of study.yaml that its author changed: only in those is a difference an edit. Elsewhere it is a
    default of ours that has changed, from which a study is safe.
    """
    given = _record(study).get("given")
    if given is None:  # an older study: what the file says, against what the study is
        return set(edited)
    for event in events:
        if isinstance(event, SpecChanged):
            given = with_changes(given, event.settings)
    return {name for name in given.keys() | edited.keys() if given.get(name) != edited.get(name)}


def _larger(name: str, wanted: int, known: Sequence[int]) -> int | None:
    """A larger budget; None where it is one that the study has or had (it was extended without the file)."""
    if wanted > known[-1]:
        return wanted
    if wanted not in known:
        raise Misuse(f"{SPEC_FILE} asks for {name} {wanted}, and the study has {known[-1]}; a budget only grows")
    return None


def _larger_budget(study: Path, edits: Edits) -> Budget | None:
    if edits.trials is None and edits.epochs is None:
        return None
    planned = plan_extension(study, edits.trials, edits.epochs)
    if planned.retrained:
        raise Misuse(
            f"{SPEC_FILE} asks for {planned.budget.epochs} epochs, for which {len(planned.retrained)} trials would be "
            f"retrained; say so: `tune-gate extend {study} --epochs {planned.budget.epochs}`"
        )
    return planned.budget


def _record(study: Path) -> dict[str, Any]:
    return dict(json.loads((study / STUDY_FILE).read_bytes()))


def _only(names: Iterable[str], record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in names if name in record}


def _listed(changed: Mapping[str, str | None]) -> str:
    return ", ".join(_names(changed))


def _names(changed: Mapping[str, str | None]) -> Iterator[str]:
    for name in list(changed)[:_NAMED]:
        yield f"{name} (gone)" if changed[name] is None else name
    if len(changed) > _NAMED:
        yield f"and {len(changed) - _NAMED} more"


def _shown(value: object) -> str:
    return "default" if value is None else json.dumps(value)
