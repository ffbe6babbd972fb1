"""A foreign study as a study of our own: the same log, the same study.json, readable by every command."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from analysis.event_records import event_to_record
from analysis.events import (
    Action,
    AttemptFailed,
    AttemptStarted,
    EpochReported,
    Event,
    SessionEnded,
    SessionStarted,
    TrialFailed,
    TrialSuggested,
    Warned,
)
from analysis.files import write_atomic
from analysis.importers.foreign import ForeignStudy, ForeignTrial, ImportFailed
from analysis.importers.spaces import made_space
from analysis.log import LOG_FILE, header_line
from analysis.study import STUDY_FILE, STUDY_SCHEMA

_LAST_ACTION: Mapping[str, Action] = {
    "completed": "complete",
    "stopped": "stop",
    "diverged": "diverge",
    "failed": "continue",
    "running": "continue",
    "waiting": "interrupt",
}


def write_study(study: ForeignStudy, source: str, folder: Path) -> None:
    """Write `study`, which was read from `source` (IMPORTER:PLACE), to `folder`, which must be absent or empty.

    study.json is written last: with it, the study exists.

    Raises:
        ImportFailed: the study has no trials, or the folder is not empty.
        OSError: the folder cannot be written.
    """
    if not study.trials:
        raise ImportFailed(f"nothing to import: {source} holds no trial" + "".join(f"; {note}" for note in study.notes))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ImportFailed(f"{folder} is not an empty folder, and nothing is written over; choose another --dir")
    lines = (json.dumps(event_to_record(event), separators=(",", ":"), allow_nan=False) for event in _events(study))
    record = _record(study, source)
    write_atomic(folder / LOG_FILE, header_line() + "".join(f"{line}\n" for line in lines).encode())
    write_atomic(folder / "study.yaml", yaml.safe_dump(record["spec"], sort_keys=False, allow_unicode=True))
    write_atomic(folder / STUDY_FILE, json.dumps(record, indent=1))


def _record(study: ForeignStudy, source: str) -> dict[str, Any]:
    fixed, space = _parted(study)
    started = min(trial.started for trial in study.trials)
    return {
        "schema": STUDY_SCHEMA,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(started)),
        "versions": {"tune-gate": _version()},
        "git_commit": None,
        "base_config": {},
        "imported": {"source": source, "runs": [trial.name for trial in study.trials]},
        "spec": {
            "name": study.name,
            "seed": 0,
            "trials": len(study.trials),
            "epochs": max((epoch.epoch for trial in study.trials for epoch in trial.epochs), default=1),
            "metric": "val_acc",
            "config": fixed,
            "space": space,
            "scheduler": {
                "kind": "asha" if study.rungs else "full",
                "reduction_factor": study.reduction_factor,
                "rungs": list(study.rungs),
            },
            "resources": {"cpus": study.cpus, "gpus": study.gpus},
        },
    }


def _parted(study: ForeignStudy) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings that all trials share, and the space of those that vary or are known to have been searched."""
    made = made_space(trial.settings for trial in study.trials)
    everywhere = {name for name in made if all(name in trial.settings for trial in study.trials)}
    fixed = {
        name: dimension["choice"][0]
        for name, dimension in made.items()
        if name in everywhere and name not in study.space and len(dimension.get("choice", (0, 1))) == 1
    }
    known = {name: dict(dimension) for name, dimension in study.space.items()}
    return fixed, {
        name: known.get(name, dimension) for name, dimension in {**made, **known}.items() if name not in fixed
    }


def _events(study: ForeignStudy) -> Iterator[Event]:
    """Everything that happened, in the order of time."""
    fixed, _ = _parted(study)
    told = [
        event
        for number, trial in enumerate(study.trials, start=1)
        for event in _monotone(_trial_events(number, trial, fixed))
    ]
    told.sort(key=lambda event: event.time)  # stable: events of one trial keep their order
    first, last = told[0].time, told[-1].time
    yield SessionStarted(first, 1, "imported", 0, {"tune-gate": _version()})
    for note in study.notes:
        yield Warned(first, note)
    yield from told
    yield SessionEnded(last, 1, "finished")


def _trial_events(number: int, trial: ForeignTrial, fixed: Mapping[str, Any]) -> Iterator[Event]:
    settings = {name: value for name, value in trial.settings.items() if name not in fixed}
    yield TrialSuggested(trial.started, number, settings, trial.seed, "imported")
    attempt, reached, now = 0, 0, trial.started
    for index, epoch in enumerate(trial.epochs):
        if epoch.attempt != attempt:
            attempt = epoch.attempt
            yield AttemptStarted(now, number, attempt, min(reached, epoch.epoch - 1))
        reached, now = epoch.epoch, epoch.time
        last = index == len(trial.epochs) - 1
        action = _LAST_ACTION[trial.state] if last else "continue"
        yield EpochReported(now, number, attempt, epoch.epoch, dict(epoch.metrics), action)
    if not trial.epochs and trial.state != "waiting":
        yield AttemptStarted(now, number, 1, 0)
    if trial.state == "failed":
        reason = trial.reason or "it failed; the source does not say why"
        yield AttemptFailed(now, number, max(attempt, 1), "error", " ".join(reason.split())[:200], trial.reason)
        yield TrialFailed(now, number, " ".join(reason.split())[:200])


def _monotone(events: Iterator[Event]) -> Iterator[Event]:
    """`events` with no time before that of an earlier one: clocks of the sources were set back."""
    now = float("-inf")
    for event in events:
        if event.time < now:
            event = replace(event, time=now)  # noqa: PLW2901
        now = event.time
        yield event


def _version() -> str:
    try:
        return version("tune-gate")
    except PackageNotFoundError:
        return "unknown"
