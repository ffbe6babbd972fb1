"""Runs logged with TensorBoard: one folder of event files per run.

Runs named as the published ones are decoded by `published_names`; others by a mapping (`naming`).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from analysis.importers import published_names
from analysis.importers.event_files import EventFile, event_files, read_event_file
from analysis.importers.foreign import ForeignEpoch, ForeignStudy, ForeignTrial, ImportFailed, ImportOptions
from analysis.importers.naming import Naming, read_naming
from analysis.importers.ranking import Ranking, chosen_ranking, ranked

#: Logged rates are single-precision numbers.
_RATE_TOLERANCE = 1e-4


class Decoded(Protocol):
    """What is known of a run from its name."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its settings."""

    @property
    def images(self) -> Mapping[str, int]:
        """Images of each split, where known."""

    def value_of(self, metric: str, logged: float) -> float:
        """The metric as we have it, from the number that was logged."""


@dataclass(frozen=True, slots=True)
class _Run:
    name: str  # of its folder, which says its settings
    label: str  # the same, or its path where two folders have one name
    files: tuple[EventFile, ...]  # those with scalars, in the order of time

    def rates(self, tag: str) -> list[float]:
        """The values of `tag` by step."""
        steps = {scalar.step: scalar.value for file in self.files for scalar in file.scalars if scalar.tag == tag}
        return [steps[step] for step in sorted(steps)]


def read(source: str, options: ImportOptions) -> ForeignStudy:
    """The runs below the folder `source`. Files without a single value are passed over, and noted.

    Raises:
        ImportFailed: there are no event files, one cannot be read, or the mapping is wrong.
    """
    folder = Path(source)
    naming = read_naming(options.mapping) if options.mapping else None
    runs, notes = _runs(folder)
    trials, unranked = list[ForeignTrial](), list[ImportFailed]()
    for run in runs:
        decoded = naming.decode(run.name) if naming else published_names.decode(run.name, run.rates("lr"))
        trial = _trial(run, decoded, naming)
        try:
            trials.append(next(ranked([trial], _ranking(trial, decoded, options))))
        except ImportFailed as which:
            trials.append(trial)
            unranked.append(which)
        notes += _about(run, decoded, trials[-1])
    if unranked and not any(_has_accuracy(trial) for trial in trials):
        raise unranked[0]
    if trials:
        notes.append("event files do not say why a run ended: each is taken as complete at its last epoch")
    return ForeignStudy(folder.resolve().name, tuple(trials), tuple(notes), gpus=1.0)


def _runs(folder: Path) -> tuple[list[_Run], list[str]]:
    runs, notes = list[_Run](), list[str]()
    paths = event_files(folder)
    folders = Counter(path.name for path in {path.parent for path in paths})
    for parent, group in itertools.groupby(paths, key=lambda path: path.parent):
        files = [read_event_file(path) for path in group]
        for file in files:
            if not file.scalars:
                size = file.path.stat().st_size
                notes.append(f"passed over {file.path.relative_to(folder)}: it holds no values ({size} bytes)")
        full = sorted((file for file in files if file.scalars), key=lambda file: file.started)
        if full:
            label = parent.name if folders[parent.name] == 1 else parent.relative_to(folder).as_posix()
            runs.append(_Run(parent.name, label, tuple(full)))
    return sorted(runs, key=lambda run: run.files[0].started), notes


def _trial(run: _Run, decoded: Decoded | None, naming: Naming | None) -> ForeignTrial:
    tags = naming.tags if naming else published_names.TAGS
    first = naming.first_step if naming else 1
    epochs = tuple(
        epoch
        for attempt, file in enumerate(run.files, start=1)
        for epoch in _epochs(file, attempt, first, tags, decoded)
    )
    return ForeignTrial(run.label, decoded.settings if decoded else {}, epochs, "completed", run.files[0].started)


def _ranking(trial: ForeignTrial, decoded: Decoded | None, options: ImportOptions) -> Ranking:
    if decoded is None:
        return chosen_ranking([trial], options)
    return Ranking("val_acc", "fraction", options.val_images or decoded.images.get("val"))


def _has_accuracy(trial: ForeignTrial) -> bool:
    return any("val_acc" in epoch.metrics for epoch in trial.epochs)


def _about(run: _Run, decoded: Decoded | None, trial: ForeignTrial) -> Iterator[str]:
    """What a user should know of a run."""
    if decoded is None:
        yield f"run {run.label}: its name is not one of the published scheme, so its settings are not known"
    if isinstance(decoded, published_names.PublishedName):
        yield from (f"run {run.label}: {note}" for note in decoded.notes)
        yield from _disagreements(trial)
    if not _has_accuracy(trial):
        yield f"run {run.label}: it has no validation accuracy, so it has no rank"


def _epochs(
    file: EventFile, attempt: int, first: int, tags: Mapping[str, str], decoded: Decoded | None
) -> Iterator[ForeignEpoch]:
    """The epochs of a file by step; a tag that the scheme does not know is kept under its own name."""
    steps: dict[int, dict[str, float]] = {}
    times: dict[int, float] = {}
    for scalar in file.scalars:
        metric = tags.get(scalar.tag, scalar.tag) if decoded else scalar.tag
        value = decoded.value_of(metric, scalar.value) if decoded else scalar.value
        steps.setdefault(scalar.step, {})[metric] = value
        times[scalar.step] = max(scalar.time, times.get(scalar.step, 0.0))
    before = file.started
    for step in sorted(steps):
        if step < first:
            raise ImportFailed(
                f"{file.path} has a step {step}, before the first, {first}: say `first_step` in a mapping"
            )
        yield ForeignEpoch(
            step - first + 1, times[step], {**steps[step], "seconds": max(times[step] - before, 0.0)}, attempt
        )
        before = times[step]


def _disagreements(trial: ForeignTrial) -> Iterator[str]:
    """Where the rates that a name says are not those that were logged; one line for each rate."""
    told = set[str]()
    for epoch in trial.epochs:
        for metric, expected in published_names.expected_rates(trial.settings, epoch.epoch).items():
            logged = epoch.metrics.get(metric)
            if logged is None or metric in told or math.isclose(logged, expected, rel_tol=_RATE_TOLERANCE):
                continue
            told.add(metric)
            yield (
                f"run {trial.name}: its name says {metric} {expected:g} at epoch {epoch.epoch}, "
                f"and {logged:g} was logged; its settings follow the name"
            )
