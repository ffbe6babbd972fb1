"""Studies side by side: what each found, what it cost to get there, and what they say of the same settings."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.costs import ledger
from analysis.errors import AnalysisError
from analysis.report_lines import METRIC_PREFIX
from analysis.rungs import full_epochs
from analysis.scores import DATA_SETTINGS
from analysis.tables import LOST_STATES, best_table

if TYPE_CHECKING:
    from analysis.study import Study

#: Settings that tell no configurations apart.
_NOT_COMPARED = frozenset({"seed", "epochs", "data_dir"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """Studies side by side. Accuracies are fractions."""

    target: float | None  # the accuracy whose cost is told; None where no study has reported
    #: One row per study: study, trials, epochs (of a full trial), best_trial, val_acc, val_acc_low, val_acc_high,
    #: last_val_acc, unit, allocated, trials_to_target, hours_to_target (in `unit`, trained up to the report that
    #: reached it), wall_hours_to_target; NaN and NA where it never did.
    studies: pd.DataFrame
    #: One row per configuration that two studies or more trained: its settings (those that any study varied), then for
    #: each study NAME and NAME_n: mean validation accuracy at the best epoch of its trials, and how many they are.
    same: pd.DataFrame
    warnings: tuple[str, ...]  # why accuracies may not be comparable

    def to_record(self) -> dict[str, Any]:
        """The comparison as JSON has it."""
        frames = {name: json.loads(frame.to_json(orient="records")) for name, frame in
                  (("studies", self.studies), ("same", self.same))}  # fmt: skip
        return {"target": self.target, **frames, "warnings": list(self.warnings)}


def compare(studies: Sequence[Study], target: float | None = None) -> Comparison:
    """The studies side by side.

    Args:
        studies: two or more; those of one name are numbered.
        target: an accuracy in (0, 1]; without it the largest that all of them reached.

    Raises:
        AnalysisError: there are fewer than two studies, or the target is no such fraction; and as `read_log`.
    """
    if len(studies) < 2:
        raise AnalysisError("two studies or more are wanted for a comparison")
    if target is not None and not 0.0 < target <= 1.0:
        raise AnalysisError(f"a target is an accuracy above 0 and at most 1 (0.93 is 93 %), not {target:g}")
    named = _named(studies)
    if target is None:
        bests = [_best(study) for study in studies]
        known = [float(best) for best in bests if not math.isnan(best)]
        target = min(known) if len(known) == len(bests) else None
    rows = [_row(name, study, target) for name, study in named.items()]
    return Comparison(target, pd.DataFrame(rows), _same_settings(named), _warnings(named))


def _best(study: Study) -> float:
    """The largest validation accuracy of a trial that did not diverge or fail; NaN where there is none."""
    trials = study.trials
    return float(trials.loc[~trials["state"].isin(LOST_STATES), "val_acc"].max())


def _named(studies: Sequence[Study]) -> dict[str, Study]:
    named: dict[str, Study] = {}
    for study in studies:
        name, number = study.name, 1
        while name in named:
            number += 1
            name = f"{study.name} ({number})"
        named[name] = study
    return named


def _row(name: str, study: Study, target: float | None) -> dict[str, Any]:
    folded, best = ledger(study), best_table(study, top=1)
    row: dict[str, Any] = {"study": name, "trials": len(study.trials), "epochs": full_epochs(study)}
    row["best_trial"] = int(best["trial"].iloc[0]) if len(best) else pd.NA
    for column in ("val_acc", "val_acc_low", "val_acc_high", "last_val_acc"):
        row[column] = float(best[column].iloc[0]) if len(best) else math.nan
    row |= {"unit": folded.unit, "allocated": folded.allocated}
    return row | _cost_to_reach(study, target)


def _cost_to_reach(study: Study, target: float | None) -> dict[str, Any]:
    nothing = {"trials_to_target": pd.NA, "hours_to_target": math.nan, "wall_hours_to_target": math.nan}
    reports, name = study.columns.all_reports, METRIC_PREFIX + "val_acc"
    if target is None or name not in reports:
        return nothing
    reports = reports.sort_values(["time", "offset"], kind="stable", ignore_index=True)
    # a trial that diverged or failed leaves nothing that one could keep, whatever it once reached
    lost = study.trials.loc[study.trials["state"].isin(LOST_STATES), "trial"]
    reached = np.flatnonzero(((reports[name] >= target - 1e-12) & ~reports["trial"].isin(lost)).to_numpy())
    if not len(reached):
        return nothing
    until = reports.iloc[: reached[0] + 1]
    seconds = METRIC_PREFIX + "seconds"
    spent = float(until[seconds].sum()) if seconds in until else math.nan
    devices = study.devices["gpus"] or study.devices["cpus"]
    begin = min(event.time for _, event in study.columns.others)
    return {
        "trials_to_target": int(until["trial"].nunique()),
        "hours_to_target": spent * devices / 3600.0,
        "wall_hours_to_target": (float(until["time"].iloc[-1]) - begin) / 3600.0,
    }


def _same_settings(named: Mapping[str, Study]) -> pd.DataFrame:
    varied = list(dict.fromkeys(name for study in named.values() for name in study.spec.space))
    found: dict[str, dict[str, Any]] = {}
    results: dict[str, dict[str, list[float]]] = {}
    for name, study in named.items():
        for trial, value in study.trials.set_index("trial")["val_acc"].dropna().items():
            settings = _settings(study, int(str(trial)), varied)
            key = json.dumps(settings, sort_keys=True, default=str)
            found[key] = settings
            results.setdefault(key, {}).setdefault(name, []).append(float(value))
    rows = []
    for key, by_study in results.items():
        if len(by_study) > 1:
            columns = {name: float(np.mean(by_study[name])) if name in by_study else math.nan for name in named}
            counts = {f"{name}_n": len(by_study.get(name, ())) for name in named}
            rows.append({**found[key], **columns, **counts})
    names = [*varied, *named, *(f"{name}_n" for name in named)]
    table = pd.DataFrame(rows, columns=names)
    return table.sort_values(list(named), ascending=False, ignore_index=True) if len(table) else table


def _settings(study: Study, trial: int, varied: Sequence[str]) -> dict[str, Any]:
    """What the trial used of the settings `varied`; a searched one that was not active is None."""
    record = study.columns.trials[trial].settings
    config = study.config_of(trial)
    searched = set(study.spec.space)
    return {name: None if name in searched and name not in record else config.get(name) for name in varied}


def _warnings(named: Mapping[str, Study]) -> tuple[str, ...]:
    varied = {name for study in named.values() for name in study.spec.space}
    fixed = {name: {**study.spec.base_config, **study.spec.config} for name, study in named.items()}
    keys = sorted({key for config in fixed.values() for key in config} - varied - _NOT_COMPARED)
    lines = []
    for key in keys:
        values = {name: config[key] for name, config in fixed.items() if key in config}
        if len({json.dumps(value, sort_keys=True, default=str) for value in values.values()}) > 1:
            said = ", ".join(f"{value!r} in {name}" for name, value in values.items())
            why = "accuracies cannot be compared" if key in DATA_SETTINGS else "a difference may come from it"
            lines.append(f"{key} differs ({said}): {why}")
    for name, config in fixed.items():
        unknown = [key for key in keys if key not in config]
        if unknown:
            lines.append(f"{name} does not record: {', '.join(unknown)}")
    return tuple(lines)
