"""How fast a replay is, and what one suggestion costs: the numbers at the end of docs/replay.md.

    python -m tests.benchmarks.replay_speed [--repeats 5]

1. Simulated trials a second over recorded benchmarks of three kinds, with budgets of 80 full-length trials. Wanted:
   1,000 with random suggestions, 100 with TPE.
2. How much faster than the search itself was, workers side by side, over curves whose epochs have durations: the
   published CIFAR-10 runs, and our own study of the digits, whose epochs last under half a second. Wanted: 1,000 times.
3. A suggestion at 1,000 trials, none of them random, beside Optuna's own TPE with the same trials. Wanted: 50 ms.

All times are of the processor, of one thread, so that other work on the machine counts little. Medians; of suggestions,
with the lowest and the highest in brackets.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from analysis.trials import Trial, fold_trials
from search_spaces import Choice
from tests.benchmarks.published import SHARED, published, published_seconds
from tests.benchmarks.search_defaults import CHOICE
from tune_gate.replay.kinds import replay_folds
from tune_gate.replay.lookup import Lookup
from tune_gate.replay.recorded import RecordedCurves, load_curves
from tune_gate.replay.simulation import Run, simulate
from tune_gate.replay.variants import Variant, replay_spec
from tune_gate.tpe import distribution, quiet

WORKERS = (4, 16)
LENGTHS = 80  # budget, in full-length trials
HISTORY = 1000  # trials before the suggestion
SUGGESTIONS = 20
WIDE = tuple(name for name in CHOICE if name != "tinresnet")  # of its points, so many trials leave none to suggest
DIGITS = Path(__file__).resolve().parent / "recorded" / "digits-27"

SEARCHES = (
    *itertools.product(("full", "asha", "promotion"), ("random", "tpe", "tpe-rung")),
    ("hyperband", "random"),
    ("median", "random"),
)


def search(scheduler: str, sampler: str, **settings: float) -> Variant:
    """A search that a study, or a replay, may name."""
    changed = {"scheduler": {"kind": scheduler}, "sampler": {"kind": sampler, **settings}}
    return Variant(f"{scheduler}, {sampler}", changed)


def benchmark(name: str) -> RecordedCurves:
    """A recorded table."""
    return load_curves(SHARED / "data" / "curves" / f"{name}.npz")


def timed(curves: RecordedCurves, variant: Variant, seed: int, workers: int, **limits: int) -> tuple[float, Run]:
    """Seconds of one replay, and what it was; `limits` are its trials or its budget in full lengths."""
    started = time.process_time()
    spec = replay_spec(curves, variant, seed, limits.get("trials"))
    run = simulate(spec, curves, Lookup(curves), workers, limits.get("lengths", np.inf) * curves.epochs)
    return time.process_time() - started, run


def loop_table(repeats: int) -> Iterator[str]:
    """Trials a second, by search, benchmark and number of workers."""
    tables = [benchmark(name) for name in CHOICE]
    heads = [f"{curves.name}, {workers} workers" for workers in WORKERS for curves in tables]
    yield "| trials a second | " + " | ".join(heads) + " |"
    yield "|---" * (len(heads) + 1) + "|"
    for scheduler, sampler in SEARCHES:
        cells = []
        for workers, curves in itertools.product(WORKERS, tables):
            runs = [
                timed(curves, search(scheduler, sampler), seed, workers, lengths=LENGTHS) for seed in range(repeats)
            ]
            cells.append(f"{statistics.median(run.trials / seconds for seconds, run in runs):,.0f}")
        yield f"| {scheduler}, {sampler} | " + " | ".join(cells) + " |"


def ratio_table(repeats: int) -> Iterator[str]:
    """How much faster than the search itself; each search has as many trials as were recorded, and 4 workers."""
    recorded = (
        dataclasses.replace(published(), seconds=published_seconds()),
        dataclasses.replace(load_curves(DIGITS), name=DIGITS.name),
    )
    heads = [f"{curves.name}, an epoch {np.median(curves.seconds):.3g} s" for curves in recorded]
    yield "| times as fast | " + " | ".join(heads) + " |"
    yield "|---" * (len(heads) + 1) + "|"
    for scheduler, sampler in SEARCHES:
        cells = []
        for curves in recorded:
            variant = search(scheduler, sampler)
            runs = [timed(curves, variant, seed, 4, trials=curves.trials) for seed in range(repeats)]
            cells.append(f"{statistics.median(3600 * float(run.hours[-1]) / seconds for seconds, run in runs):,.0f}")
        yield f"| {scheduler}, {sampler} | " + " | ".join(cells) + " |"


def suggestion_table() -> Iterator[str]:
    """What a suggestion costs that is not random, with so many trials before it."""
    tables = [benchmark(name) for name in WIDE]
    heads = [f"{curves.name}, {len(curves.space.parameters)} settings" for curves in tables]
    yield f"| ms for a suggestion at {HISTORY:,} trials | " + " | ".join(heads) + " |"
    yield "|---" * (len(heads) + 1) + "|"
    histories = [timed(curves, search("asha", "tpe-rung"), 0, 16, trials=HISTORY)[1] for curves in tables]
    for name, costs in (("tpe", _fold_costs), ("tpe-rung", _fold_costs), ("Optuna's TPESampler", _optuna_costs)):
        cells = [
            _spread([1e3 * seconds for seconds in costs(name, curves, run)], ".1f")
            for curves, run in zip(tables, histories, strict=True)
        ]
        yield f"| {name} | " + " | ".join(cells) + " |"


def _fold_costs(sampler: str, curves: RecordedCurves, run: Run) -> list[float]:
    spec = replay_spec(curves, search("asha", sampler, explore=0.0), 0, 2 * HISTORY)
    _, fold = replay_folds(spec)
    for event in run.events:
        fold.apply(event)
    trials = range(HISTORY + 1, HISTORY + 1 + SUGGESTIONS)
    assert {fold.suggest(trial).source for trial in trials} == {sampler}
    return [_seconds(fold.suggest, trial) for trial in trials]


def _optuna_costs(_: str, curves: RecordedCurves, run: Run) -> list[float]:
    distributions = {p.name: wanted for p in curves.space.parameters if (wanted := distribution(p)) is not None}
    choices = {p.name: p.dimension for p in curves.space.parameters if isinstance(p.dimension, Choice)}
    with quiet():
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
        trials = fold_trials(run.events).values()
        study.add_trials([_optuna_trial(trial, distributions, choices) for trial in trials])
        assert len(study.trials) == HISTORY
        return [_seconds(study.ask, distributions) for _ in range(SUGGESTIONS)]


def _optuna_trial(
    trial: Trial, distributions: Mapping[str, BaseDistribution], choices: Mapping[str, Choice]
) -> FrozenTrial:
    """`trial` as a search with Optuna would have told it: its values at rungs, and pruned where it was stopped."""
    whole = trial.state == "completed"
    values = {epoch: report.metrics["val_acc"] for epoch, report in trial.reports.items()}
    return create_trial(
        state=TrialState.COMPLETE if whole else TrialState.PRUNED,
        value=values[trial.epoch] if whole else None,
        params={
            name: choices[name].label(value) if name in choices else value for name, value in trial.settings.items()
        },
        distributions=dict(distributions),
        intermediate_values=values,
    )


def _seconds(work: Callable[[Any], object], argument: object) -> float:
    started = time.process_time()
    work(argument)
    return time.process_time() - started


def _spread(values: Sequence[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}-{max(values):{form}})"


def machine() -> str:
    """Processor and versions, in one line."""
    names = [line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return (
        f"{names[0]}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, "
        f"numpy {np.__version__}, Optuna {optuna.__version__}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print(machine(), flush=True)
    for lines in (loop_table(repeats), ratio_table(repeats), suggestion_table()):
        print(flush=True)
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    main()
