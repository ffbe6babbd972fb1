"""An experiment folder of Ray Tune 2.x, read without Ray: result.json and params.json of every trial, the experiment's
state, and of tuner.pkl the metric and the rungs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.importers.foreign import (
    ForeignEpoch,
    ForeignState,
    ForeignStudy,
    ForeignTrial,
    ImportFailed,
    ImportOptions,
)
from analysis.importers.inert_pickle import load_inert
from analysis.importers.ranking import Ranking, chosen_ranking, ranked

#: What Ray adds to a report; `timestamp` and `time_this_iter_s` are read.
_ADDED = frozenset(
    {
        "timestamp", "checkpoint_dir_name", "done", "training_iteration", "trial_id", "date", "time_this_iter_s",
        "time_total_s", "pid", "hostname", "node_ip", "config", "time_since_restore", "iterations_since_restore",
        "experiment_tag", "experiment_id", "should_checkpoint", "warmup_time", "timesteps_total", "episodes_total",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Search:
    """What tuner.pkl and the state say of the search."""

    metric: str | None = None
    mode: str | None = None
    rungs: tuple[int, ...] = ()
    reduction_factor: int = 3
    max_epochs: int | None = None


def read(source: str, options: ImportOptions) -> ForeignStudy:
    """The experiment in the folder `source`.

    A trial that Ray ended before the last epoch was stopped: Ray marks the report with which it ends a trial, and
    records neither the rung nor the cutoff. Its search space is not recorded either: ranges are those of the values
    tried, on a log scale where they span a factor of 100.

    Raises:
        ImportFailed: it is no such folder, or a file in it cannot be read.
    """
    folder = Path(source)
    records = [path.parent for path in sorted(folder.glob("*/params.json"))]
    if not records:
        raise ImportFailed(f"{folder} is no experiment of Ray Tune: no folder in it holds a params.json")
    search, notes = _search(folder)
    statuses = _statuses(folder)
    found = [_trial(path, statuses) for path in records]
    longest = max((epoch.epoch for trial, _ in found for epoch in trial.epochs), default=1)
    trials = [_with_end(trial, done, search.max_epochs or longest) for trial, done in found]
    trials.sort(key=lambda trial: trial.started)
    ranking = chosen_ranking(trials, options, search.metric)
    if search.mode == "min" and options.unit is None:
        ranking = Ranking(ranking.metric, "loss", options.val_images)
    if ranking.metric != "val_acc" or ranking.unit != "fraction":
        notes.append(ranking.note)
    notes.append("Ray does not record the search space: ranges are those of the values that were tried")
    rungs = tuple(rung for rung in search.rungs if rung < longest)
    study = tuple(ranked(trials, ranking))
    return ForeignStudy(folder.resolve().name, study, tuple(notes), {}, rungs, search.reduction_factor)


def _trial(folder: Path, statuses: Mapping[str, str]) -> tuple[ForeignTrial, bool]:
    """The trial, its end not yet decided, and whether Ray marked its last report as such."""
    settings = dict(_flat(_json(folder / "params.json")))
    epochs, attempt, done, trial_id = list[ForeignEpoch](), 1, False, folder.name
    for number, result in enumerate(_results(folder / "result.json"), start=1):
        epoch = int(result.get("training_iteration", number))
        if epochs and (epoch <= epochs[-1].epoch or result.get("iterations_since_restore") == 1):
            attempt += 1
        metrics = {
            name: float(value)
            for name, value in _flat({key: value for key, value in result.items() if key not in _ADDED})
            if isinstance(value, int | float)
        }
        metrics["seconds"] = float(result.get("time_this_iter_s", math.nan))
        epochs.append(ForeignEpoch(epoch, float(result.get("timestamp", 0.0)), metrics, attempt))
        done, trial_id = bool(result.get("done")), str(result.get("trial_id", trial_id))
    started = epochs[0].time - epochs[0].metrics["seconds"] if epochs else (folder / "params.json").stat().st_mtime
    error = folder / "error.txt"
    reason = error.read_text(encoding="utf-8", errors="replace").strip() if error.is_file() else ""
    status = next((status for known, status in statuses.items() if known in (trial_id, folder.name)), "")
    state: ForeignState = "failed" if status == "ERROR" or (reason and not done) else "running"
    if status == "TERMINATED" or (done and state == "running"):
        state = "completed"
    seed = settings.get("seed")
    known_seed = 0
    if type(seed) is int and seed >= 0:
        known_seed = settings.pop("seed")  # trials that differ in it alone are replicates
    start = started if math.isfinite(started) else epochs[0].time
    return ForeignTrial(folder.name, settings, tuple(epochs), state, start, known_seed, _last_line(reason)), done


def _with_end(trial: ForeignTrial, done: bool, longest: int) -> ForeignTrial:  # noqa: FBT001
    last = trial.epochs[-1].epoch if trial.epochs else 0
    stopped = trial.state == "completed" and done and last < longest
    state: ForeignState = "stopped" if stopped else trial.state
    return ForeignTrial(trial.name, trial.settings, trial.epochs, state, trial.started, trial.seed, trial.reason)


def _last_line(reason: str) -> str:
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _results(path: Path) -> Iterator[dict[str, Any]]:
    """The reports; a torn last line is left out."""
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError:
            if number == len(lines):
                return
            raise ImportFailed(f"{path}, line {number} is not JSON") from None
        if isinstance(record, dict):
            yield record


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ImportFailed(f"cannot read {path}: {error}") from None


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested mappings, named as Ray names them: net/depth."""
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def _statuses(folder: Path) -> dict[str, str]:
    """The status of each trial by its id and its folder, from the newest state of the experiment."""
    states = sorted(folder.glob("experiment_state-*.json"))
    if not states:
        return {}
    found: dict[str, str] = {}
    for entry in _json(states[-1]).get("trial_data", ()):
        state = json.loads(entry[0]) if isinstance(entry[0], str) else entry[0]
        for key in ("trial_id", "relative_logdir"):
            if state.get(key):
                found[str(state[key])] = str(state.get("status", ""))
    return found


def _search(folder: Path) -> tuple[_Search, list[str]]:
    path = folder / "tuner.pkl"
    if not path.is_file():
        return _Search(), [f"{path.name} is absent: the metric and the rungs of the search are not known"]
    try:
        config = load_inert(path.read_bytes())["_tune_config"]
        scheduler = getattr(config, "scheduler", None)
        brackets = list(getattr(scheduler, "_brackets", ()))
        rungs = sorted({int(rung[0]) for bracket in brackets for rung in getattr(bracket, "_rungs", ())})
        longest = getattr(scheduler, "_max_t", None)
        return _Search(
            getattr(config, "metric", None),
            getattr(config, "mode", None),
            tuple(rungs),
            round(getattr(scheduler, "_reduction_factor", 3)),
            int(longest) if longest else None,
        ), []
    except (ValueError, KeyError, TypeError, AttributeError):
        return _Search(), [f"{path.name} cannot be read: the metric and the rungs of the search are not known"]
