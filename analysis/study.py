"""A study directory, opened for reading: its specification, and its log as it stood when it was opened."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.arms import Confirmation, confirmation_of
from analysis.copies import local_copy
from analysis.errors import AnalysisError, SchemaUnknown, StudyNotFound
from analysis.events import Event, ResourcesChosen, SpecChanged, TrialInherited, is_about
from analysis.holders import current_holder
from analysis.log import LOG_FILE, LogPosition, decode_lines, opening_events
from analysis.names import unknown_name
from analysis.trials import Trial, abandon, fold_trials

if TYPE_CHECKING:
    import pandas as pd

    from analysis.columns import LogColumns

STUDY_FILE = "study.json"

#: Version of study.json; a reader refuses every other.
STUDY_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class StudyHeader:
    """What study.json says that a reader of results needs."""

    name: str
    seed: int
    trials: int  # wanted
    epochs: int  # of a trial that is not stopped
    metric: str  # maximised
    config: Mapping[str, Any]  # settings that the spec fixes
    space: tuple[str, ...]  # names of the searched settings, in the spec's order
    dimensions: Mapping[str, Any]  # by name, as the study's space writes them: {"log-float": [0.001, 0.1]}
    scheduler: str  # kind of the scheduler; "full" stops nobody
    rungs: tuple[int, ...]  # epochs at which trials are compared
    reduction_factor: int  # of so many trials at a rung, one goes on
    probe_share: float  # length of the probes that rungs judge by, as a share of the epochs so far; 0: there are none
    cpus: float  # of one trial, at the launch; see `Study.devices`
    gpus: float
    base_config: Mapping[str, Any]  # every setting of the plain default trial
    created: str  # ISO 8601
    versions: Mapping[str, str]
    confirmation: Confirmation | None = None  # what it confirms; None: it is a search
    runs: tuple[str, ...] = ()  # of an imported study: the trials' names at the source, in the order of numbers


@dataclass(frozen=True)
class Study:
    """A study as it stood when it was opened; what its driver appended later is not seen.

    The log is read on first use, so the properties raise `LogCorrupt` or `SchemaUnknown` as `read_log` does.
    """

    path: Path
    spec: StudyHeader
    log_bytes: int  # size of the log when the study was opened
    abandoned: bool = False  # no driver held it then: what its log says to be running is not
    whole: Study | None = None  # of a part: the study that it is a part of
    only: frozenset[int] = frozenset()  # of a part: its trials
    conditions: tuple[str, ...] = ()  # of a part: what these have in common

    @property
    def name(self) -> str:
        """The study's name."""
        return self.spec.name

    @cached_property
    def events(self) -> list[Event]:
        """Every event, as objects. A large study is read much faster through `trials` and `epochs`."""
        if self.whole is not None:
            return [event for event in self.whole.events if is_about(event, self.only)]
        try:
            with (self.path / LOG_FILE).open("rb") as file:
                data = file.read(self.log_bytes)
        except FileNotFoundError:
            return []
        complete = data[: data.rfind(b"\n") + 1]
        return [event for _, event in decode_lines(self.path / LOG_FILE, complete, LogPosition())]

    @cached_property
    def inherited(self) -> int:
        """How many trials of earlier studies were told to the sampler. They are in no table: others ran them."""
        return sum(isinstance(event, TrialInherited) for event in opening_events(self.path / LOG_FILE))

    @cached_property
    def records(self) -> dict[int, Trial]:
        """The trials with all their reports, by number."""
        trials = fold_trials(self.events)
        if self.abandoned:
            abandon(trials.values())
        return trials

    @cached_property
    def columns(self) -> LogColumns:
        """The log as columns, from which the tables are made."""
        if self.whole is not None:
            return self.whole.columns.of_trials(self.only)
        from analysis.columns import read_columns  # noqa: PLC0415  pandas is needed for tables only

        columns = read_columns(self.path / LOG_FILE, self.log_bytes)
        if self.abandoned:
            abandon(columns.trials.values())
        return columns

    @cached_property
    def devices(self) -> Mapping[str, float]:
        """The `cpus` and `gpus` of one trial: what the spec says, or what was measured or edited since."""
        amounts = {"cpus": self.spec.cpus, "gpus": self.spec.gpus}
        for _, event in self.columns.others:
            if isinstance(event, SpecChanged | ResourcesChosen):
                for name, amount in amounts.items():
                    amounts[name] = float(event.settings.get(f"resources.{name}", amount))
        return amounts

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial; its columns are told in `analysis.frames.trials_frame`."""
        from analysis.frames import trials_frame  # noqa: PLC0415

        return trials_frame(self)

    @cached_property
    def epochs(self) -> pd.DataFrame:
        """One row per trial and epoch; its columns are told in `analysis.frames.epochs_frame`."""
        from analysis.frames import epochs_frame  # noqa: PLC0415

        return epochs_frame(self)

    def part(self, trials: Iterable[int], conditions: Sequence[str] = ()) -> Study:
        """The study as if it had run these trials only, which meet `conditions`; its sessions stay what they were."""
        return replace(self, whole=self, only=frozenset(trials), conditions=tuple(conditions))

    def config_of(self, trial: int) -> dict[str, Any]:
        """Every setting of the trial of that number, `epochs` and `seed` included.

        Raises:
            UnknownName: the study has no such trial.
        """
        records = self.columns.trials
        if trial not in records:
            raise unknown_name("trial", trial, records)
        record = records[trial]
        fixed = {**self.spec.base_config, **self.spec.config}
        return {**fixed, **record.settings, "epochs": self.spec.epochs, "seed": record.seed}


def open_study(path: str | Path) -> Study:
    """The study in the folder `path`, as it stands now. A study without a log has no trials yet.

    The URL of an object store will do, too; what is opened then is a copy, which lasts as long as this process.

    Raises:
        StoreError: the object store cannot be used.
        StudyNotFound: there is no such folder, or it holds no study.json.
        SchemaUnknown: study.json was written by a version that this one does not know.
        AnalysisError: study.json is damaged.
    """
    folder = local_copy(path)
    file = folder / STUDY_FILE
    try:
        text = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        what = f"holds no {STUDY_FILE}" if folder.is_dir() else "is no folder"
        raise StudyNotFound(f"no study at {folder}: it {what}") from None
    log = folder / LOG_FILE
    header, size = _header(file, text), log.stat().st_size if log.exists() else 0
    # Others ran what was imported, and whether they still do is not ours to say.
    return Study(folder, header, size, abandoned=not header.runs and current_holder(folder) is None)


def list_studies(root: str | Path, depth: int = 3) -> list[Path]:
    """The study folders at `root` or up to `depth` folders below it, sorted; none is sought in a study.

    An absent root holds none; folders that cannot be read are passed over.
    """
    folder = Path(root)
    if (folder / STUDY_FILE).is_file():
        return [folder]
    if depth == 0:
        return []
    try:
        with os.scandir(folder) as entries:
            below = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return []
    return [study for name in below for study in list_studies(folder / name, depth - 1)]


def _header(file: Path, text: bytes) -> StudyHeader:
    try:
        record = json.loads(text)
    except ValueError:
        raise AnalysisError(f"{file} is damaged: it is not JSON; restore it from a backup") from None
    if not isinstance(record, dict):
        raise AnalysisError(f"{file} is damaged: it is not a JSON object; restore it from a backup")
    if record.get("schema") != STUDY_SCHEMA:
        raise SchemaUnknown(
            f"{file} has schema version {record.get('schema')!r} and this tune-gate reads {STUDY_SCHEMA}; "
            "use the version that wrote it"
        )
    try:
        return _read_header(record)
    except KeyError as error:
        raise AnalysisError(f"{file} is damaged: it has no {error.args[0]!r}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise AnalysisError(f"{file} is damaged: {error}") from None


def _read_header(record: Mapping[str, Any]) -> StudyHeader:
    spec = record["spec"]
    resources, scheduler = spec.get("resources", {}), spec.get("scheduler", {})
    return StudyHeader(
        name=str(spec["name"]),
        seed=int(spec["seed"]),
        trials=int(spec["trials"]),
        epochs=int(spec["epochs"]),
        metric=str(spec.get("metric", "val_acc")),
        config=dict(spec.get("config", {})),
        space=tuple(spec["space"].keys()),
        dimensions=dict(spec["space"]),
        scheduler=str(scheduler.get("kind", "full")),
        rungs=tuple(int(rung) for rung in scheduler.get("rungs") or ()),
        reduction_factor=int(scheduler.get("reduction_factor", 3)),
        probe_share=float((scheduler.get("probe") or {}).get("share", 0.0)),
        cpus=float(resources.get("cpus", 1.0)),
        gpus=float(resources.get("gpus", 0.0)),
        base_config=dict(record["base_config"]),
        created=str(record["created"]),
        versions=dict(record.get("versions", {})),
        confirmation=confirmation_of(spec.get("confirm")),
        runs=tuple(record.get("imported", {}).get("runs", ())),
    )
