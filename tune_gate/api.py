"""Launching and resuming a search from Python; the command line calls the same functions."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from analysis.configs import config_yaml
from analysis.errors import AnalysisError
from analysis.export import EXPORTERS, export_table
from analysis.files import write_atomic
from analysis.study import Study, open_study
from analysis.tables import best_table
from tune_gate.changes import refuse_changed_code, take_over_edits
from tune_gate.cluster_access import ClusterAddress, parse_address
from tune_gate.display import Silent, open_display
from tune_gate.errors import Misuse
from tune_gate.progress import ProgressReader
from tune_gate.spec import StudySpec, load_spec, parse_spec, study_spec, with_changes
from tune_gate.study_dir import create_study, free_folder
from tune_gate.supervisor import supervise

#: Where studies go that are given no folder.
STUDIES = Path("studies")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a launched or resumed search ended."""

    study: Study
    ended: Literal["finished", "interrupted"]
    written: tuple[Path, ...]  # exports


def launch(
    spec: StudySpec | Mapping[str, Any] | str | Path | None = None,
    directory: str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    console: Console | None = None,
    cluster: str | None = None,
) -> Outcome:
    """Start a new search and run it to its end.

    Args:
        spec: a `StudySpec`, a mapping or a YAML file that describes one; without one, the embedded demo study.
        directory: the study's folder, new or empty; without one, a new folder below `studies`.
        changes: dotted keys that override the spec, as `--set` gives them.
        console: where to show the progress; nowhere without one.
        cluster: `auto`, `HOST:PORT` or `ray://HOST:PORT`; without one, a Ray of this machine is started.

    Raises:
        SpecError, SpaceError, TrainableError: what is asked for is wrong; nothing was started and nothing is left.
        StudyExists: the folder is not empty.
        SearchFailed: the search died again and again; it can be resumed.
    """
    address = parse_address(cluster) if cluster else None
    ready = _spec(spec, changes or {})
    folder = Path(directory) if directory is not None else free_folder(STUDIES, ready.name)
    create_study(ready, folder)
    try:
        return _run(folder, ProgressReader(folder), console, address)
    except Misuse:
        if not _has_trials(folder):
            shutil.rmtree(folder)  # we made it, and it holds nothing yet: the same launch can be tried again
        raise


def resume(directory: str | Path, console: Console | None = None, cluster: str | None = None) -> Outcome:
    """Go on with a search that was interrupted, stopped or killed; a finished one is left as it is.

    What was edited in the folder's study.yaml is taken over, if it does not mix results.
    `cluster` is what it is for `launch`; it need not be the one on which the search began.

    Raises:
        StudyNotFound: there is no study.
        Misuse: an edit, or a change of the code, would mix results (`changes.accept_code` lets the code pass).
        StudyLocked: the search is running.
        SearchFailed: it died again and again.
    """
    address = parse_address(cluster) if cluster else None
    folder = Path(directory)
    reader = ProgressReader(folder)
    events = reader.read()
    for line in take_over_edits(folder, events):
        if console is not None:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    reader.read()
    if not reader.done:
        refuse_changed_code(folder, events)
    return _run(folder, reader, console, address)


def demo_spec() -> StudySpec:
    """The embedded study."""
    return _spec(None, {})


def _run(folder: Path, reader: ProgressReader, console: Console | None, cluster: ClusterAddress | None) -> Outcome:
    if not reader.done:
        if console is None:
            silent = Silent()
            supervise(folder, silent.tick, silent.say, cluster)
        else:
            with open_display(folder, console) as display:
                supervise(folder, display.tick, display.say, cluster)
    reader.read()
    study = open_study(folder)
    return Outcome(study, "finished" if reader.done else "interrupted", _write_exports(study))


def _write_exports(study: Study) -> tuple[Path, ...]:
    """The best-config table, and the best configuration where there is one."""
    table = best_table(study)
    if table.empty:
        return ()
    folder = study.path / "exports"
    written = []
    for fmt in ("csv", "markdown"):
        path = folder / f"best{EXPORTERS[fmt].suffix}"
        write_atomic(path, export_table(table, fmt))
        written.append(path)
    try:
        write_atomic(folder / "best-config.yaml", config_yaml(study, "best"))
    except AnalysisError:
        return tuple(written)  # every trial diverged or failed: there is no best
    return (*written, folder / "best-config.yaml")


def _has_trials(folder: Path) -> bool:
    reader = ProgressReader(folder)
    reader.read()
    return bool(reader.progress(alive=False).states)


def _spec(spec: StudySpec | Mapping[str, Any] | str | Path | None, changes: Mapping[str, Any]) -> StudySpec:
    if spec is None:
        text = Path(__file__).with_name("demo.yaml").read_text(encoding="utf-8")
        return parse_spec(text, "the demo study", changes)
    if isinstance(spec, (str, Path)):
        return load_spec(Path(spec), changes)
    given = spec.model_dump(mode="json", exclude_unset=True) if isinstance(spec, StudySpec) else spec
    return study_spec(with_changes(given, changes))
