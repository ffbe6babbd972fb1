"""The tables of docs/probes.md, from the study that `tests.benchmarks.probes record` left."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.log import LOG_FILE, read_log
from analysis.trials import Trial, fold_trials

Values = NDArray[np.float64]

#: Draws of the bootstrap, and its seed.
DRAWS = 4000
SEED = 0

_PROBE = re.compile(r"probe_val_acc(_[\d.]+)?")


@dataclass(frozen=True, slots=True)
class Sight:
    """What one way to look at the trials at a rung knows of the end."""

    name: str
    rho: float  # Spearman's rank correlation with the final accuracy
    low: float  # 2.5 % and 97.5 % points of its bootstrap
    high: float
    gain: float  # rho less that of the plain value
    gain_low: float
    gain_high: float
    kept: float  # share of the best third at the end that the best third at the rung holds
    epochs: float  # mean length of the probe; 0: it costs nothing


def recorded(study: Path) -> tuple[Trial, ...]:
    """The trials in `study` that ended."""
    trials = fold_trials(read_log(study / LOG_FILE)).values()
    return tuple(trial for trial in trials if trial.state in ("completed", "diverged"))


def metric(trial: Trial, epoch: int, name: str = "val_acc") -> float:
    """A metric of an epoch of `trial`; NaN where there is none."""
    report = trial.reports.get(epoch)
    return math.nan if report is None else report.metrics.get(name, math.nan)


def rungs(trials: Sequence[Trial]) -> tuple[int, ...]:
    """The epochs at which probes were taken."""
    found = {epoch for trial in trials for epoch, report in trial.reports.items() if "probe_val_acc" in report.metrics}
    return tuple(sorted(found))


def ways(trials: Sequence[Trial], rung: int, epochs: int) -> dict[str, tuple[Values, float]]:
    """Each way to judge `trials` at `rung`: one value per trial, and the mean epochs that it costs beyond the rung.

    Besides the plain value and the probes: the mean of the last three epochs, which costs nothing; and the plain value
    an epoch later, which is what the cost of a longer probe buys without one.
    """

    so_far = np.column_stack([_at(trials, epoch) for epoch in range(1, rung + 1)])
    found = {
        "plain": (so_far[:, -1], 0.0),
        "mean of the last 3 epochs": (so_far[:, -3:].mean(axis=1), 0.0),
        "best so far": (so_far.max(axis=1), 0.0),
    }
    later = rung + max(1, round(rung / 4))
    if later < epochs:
        found[f"plain, at epoch {later}"] = (_at(trials, later), float(later - rung))
    names = {name for trial in trials for name in trial.reports[rung].metrics if _PROBE.fullmatch(name)}
    lengths = {name: float(np.nanmean(_at(trials, rung, name.replace("val_acc", "epochs")))) for name in names}
    for name, length in sorted(lengths.items(), key=lambda pair: pair[1]):
        found[f"probe of {length / rung:.0%}"] = (_at(trials, rung, name), length)
    return found


def sights(trials: Sequence[Trial], rung: int, epochs: int) -> list[Sight]:
    """What each way knows at `rung`, with intervals from resampling the trials (in pairs: the same for all ways)."""
    there = [
        trial for trial in trials if not math.isnan(metric(trial, rung)) and trial.reports[rung].action != "diverge"
    ]
    final = np.array([0.0 if trial.state == "diverged" else metric(trial, epochs) for trial in there])
    draws = np.random.default_rng(SEED).integers(len(there), size=(DRAWS, len(there)))
    judged = ways(there, rung, epochs)
    plain = judged["plain"][0]
    plain_rho, plain_drawn = float(spearman(plain, final)), spearman(plain[draws], final[draws])
    found = []
    for name, (values, cost) in judged.items():
        rho, drawn = float(spearman(values, final)), spearman(values[draws], final[draws])
        low, high = np.nanquantile(drawn, (0.025, 0.975))
        gain_low, gain_high = np.nanquantile(drawn - plain_drawn, (0.025, 0.975))
        found.append(Sight(name, rho, low, high, rho - plain_rho, gain_low, gain_high, kept_share(values, final), cost))
    return found


def spearman(x: ArrayLike, y: ArrayLike) -> Values:
    """Spearman's rank correlation along the last axis; tied values share their mean rank. NaN where either does not
    vary.
    """
    from scipy import stats

    ranks = (stats.rankdata(values, axis=-1) for values in (x, y))
    first, second = (each - each.mean(axis=-1, keepdims=True) for each in ranks)
    with np.errstate(invalid="ignore"):
        found = (first * second).sum(axis=-1) / np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    return np.asarray(found)


def kept_share(values: Values, final: Values) -> float:
    """The share of the best third at the end that is among the best third now."""
    third = max(1, len(final) // 3)
    best = set(np.argsort(-final, kind="stable")[:third].tolist())
    return len(best.intersection(np.argsort(-values, kind="stable")[:third].tolist())) / third


def tables(study: Path) -> Iterator[str]:
    """The tables of one study, in Markdown."""
    trials = recorded(study)
    epochs = max(trial.epoch for trial in trials)
    falling = [trial for trial in trials if trial.settings["schedule"] != "constant"]
    groups: Mapping[str, Sequence[Trial]] = {"all": trials, "those whose rate falls before the end": falling}
    for words, group in groups.items():
        for rung in rungs(trials):
            yield f"### {study.name}: {words} ({len(group)} configurations), at epoch {rung} of {epochs}"
            yield ""
            yield "| judged by | rank correlation | 95 % | gain | 95 % | best third kept | epochs more |"
            yield "|---|---|---|---|---|---|---|"
            for sight in sights(group, rung, epochs):
                gain = (
                    "- | -" if sight.name == "plain"
                    else f"{sight.gain:+.2f} | {sight.gain_low:+.2f} to {sight.gain_high:+.2f}"
                )  # fmt: skip
                yield (
                    f"| {sight.name} | {sight.rho:.2f} | {sight.low:.2f} to {sight.high:.2f} | {gain} | "
                    f"{sight.kept:.0%} | {sight.epochs:.2f} |"
                )
            yield ""


def _at(trials: Sequence[Trial], epoch: int, name: str = "val_acc") -> Values:
    return np.array([metric(trial, epoch, name) for trial in trials])
