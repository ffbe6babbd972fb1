"""Launching and resuming a search from Python; the command line calls the same functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from analysis.configs import config_yaml
from analysis.confirmation import confirmation_runs, confirmation_table, confirmed_differences
from analysis.confirmed import link_confirmation
from analysis.copies import local_copy
from analysis.errors import AnalysisError
from analysis.events import Event
from analysis.export import EXPORTERS, export_table
from analysis.files import write_atomic
from analysis.study import Study, open_study
from analysis.tables import best_table
from tune_gate.changes import refuse_changed_code, take_over_edits
from tune_gate.cluster_access import ClusterAddress, parse_address
from tune_gate.confirm import confirmation_spec
from tune_gate.display import Silent, open_display
from tune_gate.dotted import with_changes
from tune_gate.errors import Misuse
from tune_gate.inheritance import first_events, forked_settings, inherit
from tune_gate.progress import ProgressReader
from tune_gate.rung_check import rung_warnings
from tune_gate.spec import StudySpec, load_spec, parse_spec, study_spec
from tune_gate.storage import beside, check_out, discard, folder_for_new, name_of, publish_new, push_results
from tune_gate.study_dir import create_study, free_folder, with_absolute_paths
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
    history: Sequence[str | Path] = (),
) -> Outcome:
    """Start a new search and run it to its end.

    Args:
        spec: a `StudySpec`, a mapping or a YAML file that describes one; without one, the embedded demo study.
        directory: the study's folder, new or empty, or the URL of one in an object store; without one, a new folder
            below `studies`.
        changes: dotted keys that override the spec, as `--set` gives them.
        console: where to show the progress; nowhere without one.
        cluster: `auto`, `HOST:PORT` or `ray://HOST:PORT`; without one, a Ray of this machine is started.
        history: earlier studies; of their trials, those that fit the new space are told to the sampler first.

    Raises:
        StudyNotFound, Misuse: an earlier study cannot be read, or is of another kind.
        SpecError, SpaceError, TrainableError: what is asked for is wrong; nothing was started and nothing is left.
        StudyExists: the folder is not empty.
        SearchFailed: the search died again and again; it can be resumed.
    """
    address = parse_address(cluster) if cluster else None
    ready = with_absolute_paths(_spec(spec, changes or {}))
    folder = folder_for_new(directory) if directory is not None else free_folder(STUDIES, ready.name)
    inherited = inherit(ready, [Path(source) for source in history])
    _say(map(str, inherited), console)
    return _start(ready, folder, console, address, history=first_events(inherited))


def confirm(
    source: str | Path,
    top: int = 3,
    seeds: int = 5,
    directory: str | Path | None = None,
    console: Console | None = None,
    cluster: str | None = None,
) -> Outcome:
    """Confirm a search: train its `top` best configurations, its default and the plain ResNet anew with `seeds` fresh
    seeds, and measure each trial once on the test split. The confirmation is a study of its own; `resume` goes on.

    Args:
        source: the folder or URL of the search; nothing but a link is added to it.
        top: how many of the best configurations.
        seeds: how many seeds each; all configurations have the same ones.
        directory: the confirmation's folder or URL, new or empty; without one, beside the search, its name with
            `-confirm`.
        console: where to show the progress; nowhere without one.
        cluster: as in `launch`.

    Raises:
        Misuse: the search is running, or is itself a confirmation.
        AnalysisError: there is no search, or nothing in it that could be confirmed.
        StudyExists: there is a confirmation already; another one, in another folder, opens the test split again.
        SearchFailed: the training died again and again; it can be resumed.
    """
    address = parse_address(cluster) if cluster else None
    search = local_copy(source)
    spec = confirmation_spec(search, top, seeds)
    folder = folder_for_new(directory if directory is not None else beside(source, "-confirm"))
    return _start(spec, folder, console, address, lambda: link_confirmation(search, folder))


def fork(
    directory: str | Path,
    new: str | Path,
    spec: StudySpec | Mapping[str, Any] | str | Path | None = None,
    changes: Mapping[str, Any] | None = None,
    console: Console | None = None,
    cluster: str | None = None,
) -> Outcome:
    """Start a new study in `new` that takes the trials of the one in `directory` as its sampler's history.

    Args:
        directory: the earlier study; it is only read.
        new: the new study's folder, new or empty.
        spec: what the new study is; without one, the earlier one's study.yaml as it is now, under the new name.
        changes: dotted keys that override it.
        console, cluster: as for `launch`.

    Raises as `launch`; Misuse, too, where the earlier study is a confirmation.
    """
    wanted = forked_settings(Path(directory), name_of(new)) if spec is None else spec
    return launch(wanted, new, changes, console, cluster, [directory])


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
    folder = check_out(directory)
    reader = ProgressReader(folder)
    events = reader.read()
    _say(take_over_edits(folder, events), console)
    reader.read()
    if not reader.done:
        refuse_changed_code(folder, events)
    return _run(folder, reader, console, address)


def demo_spec() -> StudySpec:
    """The embedded study."""
    return _spec(None, {})


def _start(
    spec: StudySpec,
    folder: Path,
    console: Console | None,
    cluster: ClusterAddress | None,
    made: Callable[[], None] = lambda: None,
    history: Sequence[Event] = (),
) -> Outcome:
    """Make a study whose log begins with `history`, and run it; `made` is called between the two."""
    create_study(spec, folder, history)
    publish_new(folder)
    _say((f"warning: {warning}" for warning in rung_warnings(spec)), console)
    try:
        made()
        return _run(folder, ProgressReader(folder), console, cluster)
    except Misuse:
        if not _has_trials(folder):
            discard(folder)  # we made it, and it holds nothing yet: the same launch can be tried again
        raise


def _run(folder: Path, reader: ProgressReader, console: Console | None, cluster: ClusterAddress | None) -> Outcome:
    if not reader.done:
        if reader.spec.resources.auto:
            _say(["resources: auto; a trial is measured first, alone and beside others"], console)
        if console is None:
            silent = Silent()
            supervise(folder, silent.tick, silent.say, cluster)
        else:
            with open_display(folder, console) as display:
                supervise(folder, display.tick, display.say, cluster)
    reader.read()
    study = open_study(folder)
    written = _write_exports(study)
    push_results(folder)
    return Outcome(study, "finished" if reader.done else "interrupted", written)


def _write_exports(study: Study) -> tuple[Path, ...]:
    """The best-config table, and the best configuration where there is one; of a confirmation, its own tables."""
    if study.spec.confirmation is not None:
        return _write_confirmation(study)
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


def _write_confirmation(study: Study) -> tuple[Path, ...]:
    tables = {
        "confirmation": confirmation_table(study),
        "differences": confirmed_differences(study),
        "runs": confirmation_runs(study),
    }
    written = []
    for name, table in tables.items():
        path = study.path / "exports" / f"{name}.csv"
        write_atomic(path, export_table(table, "csv"))
        written.append(path)
    return tuple(written)


def _say(lines: Iterable[str], console: Console | None) -> None:
    for line in lines:
        if console is not None:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


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
