"""What the driver costs: beside bare Ray Tune with the same scheduler and searcher, and at a size that no test has.

    python -m tests.benchmarks.driver side-by-side [--trials 2000] [--rounds 3]
    python -m tests.benchmarks.driver virtual [--workers 1000] [--trials 100000] [--sampler random] [--scheduler asha]

The first runs a search of short trials on our driver and on bare Ray Tune (ASHA, and OptunaSearch's TPE), this with its
default loggers and without, in turns, each in a process of its own, and gives the processor time of the driver process
per trial and per report, by how much its memory grew at its peak, and by how much for each trial after the first
quarter of them: what is kept of an ended trial. Processor time, because that is what a driver costs, and because it
hardly depends on what else runs here. The other runs the production search and its folds in virtual time, with a log in
memory, and gives the time per trial.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EPOCHS = 9
RUNGS = (1, 3)


def curve(lr: float, epoch: int) -> float:
    """A validation accuracy that rises towards a plateau, best at lr = 0.1."""
    return (0.9 - 0.08 * abs(math.log10(lr) + 1)) * (1 - math.exp(-epoch / 3))


def search_spec(trials: int, sampler: str = "tpe", scheduler: str = "asha") -> dict[str, Any]:
    return {
        "trials": trials,
        "epochs": EPOCHS,
        "space": {"lr": {"log-float": [0.001, 1.0]}},
        "first": [],
        "scheduler": {"kind": scheduler, "rungs": list(RUNGS)},
        "sampler": {"kind": sampler, "startup": 10},
        "trainable": "tests.benchmarks.driver_trainable:Quick",
        "resources": {"local_cpus": 2},
    }


def cost() -> dict[str, float]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu": usage.ru_utime + usage.ru_stime, "megabytes": usage.ru_maxrss / 1024}


def start_ray() -> None:
    import logging

    import ray

    ray.init(
        address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False,
        logging_level=logging.ERROR, _node_ip_address="127.0.0.1",
    )  # fmt: skip


def run_ours(trials: int, folder: Path) -> int:
    """Our driver in this process; the reports it had."""
    from tune_gate.on_ray import run_on_ray
    from tune_gate.search import Search
    from tune_gate.spec import study_spec
    from tune_gate.study_dir import create_study

    spec = create_study(study_spec(search_spec(trials)), folder / "study")
    search = Search(spec, folder / "study")
    search.begin("benchmark", os.getpid(), {})
    run_on_ray(search, spec, folder / "study")
    reports = sum(len(trial.reports) for trial in search.trials.values())
    search.end()
    return reports


def run_lean(trials: int, folder: Path) -> int:
    """Bare Ray Tune in this process, without its default loggers: it writes no result down; the reports it had."""
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    return run_bare(trials, folder)


def run_bare(trials: int, folder: Path) -> int:
    """Bare Ray Tune in this process, with its default loggers (CSV, JSON, TensorBoard); the reports it had."""
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    import optuna
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    from tests.benchmarks.driver_trainable import Bare

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    counted = Counter()
    tune.Tuner(
        tune.with_resources(Bare, {"cpu": 1}),
        param_space={"lr": tune.loguniform(0.001, 1.0)},
        tune_config=tune.TuneConfig(
            metric="val_acc", mode="max", num_samples=trials, reuse_actors=True,
            search_alg=OptunaSearch(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=10)),
            scheduler=ASHAScheduler(max_t=EPOCHS, grace_period=RUNGS[0], reduction_factor=3),
        ),
        run_config=tune.RunConfig(
            name="bare", storage_path=str(folder), verbose=0, callbacks=[counted.callback()],
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        ),
    ).fit()  # fmt: skip
    return counted.reports


class Peaks:
    """The peak of this process' memory when a quarter of the trials had begun, on either side: Tune adds them all."""

    def __init__(self, trials: int) -> None:
        from ray.tune.execution.tune_controller import TuneController

        self.begun, self.quarter, self.at_quarter = 0, trials // 4, 0.0
        add_trial = TuneController.add_trial

        def counting(controller: TuneController, trial: Any) -> None:
            self.begun += 1
            if self.begun == self.quarter:
                self.at_quarter = cost()["megabytes"]
            add_trial(controller, trial)

        TuneController.add_trial = counting

    def kilobytes_per_trial(self) -> float:
        """By how much the peak has grown since, for each trial that has begun since."""
        return (cost()["megabytes"] - self.at_quarter) * 1024 / (self.begun - self.quarter)


class Counter:
    """Counts reports."""

    def __init__(self) -> None:
        self.reports = 0

    def callback(self) -> Any:
        from ray import tune

        counter = self

        class Counting(tune.Callback):
            def on_trial_result(self, **_: Any) -> None:
                counter.reports += 1

        return Counting()


#: By name: ours; Ray Tune with its default loggers; Ray Tune without any.
RUNS = {"ours": run_ours, "bare": run_bare, "lean": run_lean}


def one_run(kind: str, trials: int) -> None:
    """A run in this process, told in one line of JSON."""
    start_ray()
    peaks = Peaks(trials)
    with tempfile.TemporaryDirectory() as folder:
        before, begun = cost(), time.perf_counter()
        reports = RUNS[kind](trials, Path(folder))
        after = cost()
    seconds = time.perf_counter() - begun
    grown = {"megabytes": after["megabytes"] - before["megabytes"], "kilobytes_per_trial": peaks.kilobytes_per_trial()}
    found = {"reports": reports, "wall": seconds, "cpu": after["cpu"] - before["cpu"], **grown}
    print("RESULT " + json.dumps(found), flush=True)


def side_by_side(trials: int, rounds: int) -> None:
    """Alternate runs of both, each in a process of its own."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in RUNS}
    for number in range(rounds):
        for kind, runs in found.items():
            done = subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.driver", "one", "--kind", kind, "--trials", str(trials)],
                stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
            runs.append(json.loads(line.removeprefix("RESULT ")))
            print(f"round {number + 1} {kind}: {runs[-1]}", flush=True)
    print(f"{trials} trials, median of {rounds} rounds; processor time of the driver process")
    for kind, runs in found.items():
        cpu = statistics.median(run["cpu"] / trials for run in runs) * 1e3
        report = statistics.median(run["cpu"] / run["reports"] for run in runs) * 1e3
        rate = statistics.median(run["reports"] / run["wall"] for run in runs)
        grown = statistics.median(run["megabytes"] for run in runs)
        each = statistics.median(run["kilobytes_per_trial"] for run in runs)
        print(
            f"{kind:5} {cpu:7.2f} ms/trial {report:7.2f} ms/report {rate:6.0f} reports/s, grew by {grown:.0f} MB, "
            f"after a quarter of the trials by {each:.1f} kB/trial"
        )
    for kind in ("bare", "lean"):
        ratio = statistics.median(a["cpu"] / b["cpu"] for a, b in zip(found["ours"], found[kind], strict=True))
        print(f"ours / {kind}: {ratio:.2f} of the processor time per trial (wanted: at most 1.1)")


def virtual(workers: int, trials: int, sampler: str, scheduler: str) -> None:
    """The production search in virtual time: `workers` at once, an epoch of each lasting about an hour."""
    from tune_gate.replay.simulation import MemoryLog
    from tune_gate.replay.spec import ReplaySpec
    from tune_gate.search import Search

    spec = ReplaySpec.model_validate(search_spec(trials, sampler, scheduler))
    now, generator = 0.0, random.Random(0)
    search = Search(spec, Path(), clock=lambda: now, journal=MemoryLog)
    search.begin("virtual", 0, {})
    running: list[tuple[float, int, int, int, float]] = []  # when its epoch ends, trial, attempt, epoch, lr
    begun, used, ended, reports = time.perf_counter(), cost()["cpu"], 0, 0
    while True:
        while len(running) < workers and (given := search.next_assignment()) is not None:
            lr = given.settings["lr"]
            ready = now + generator.uniform(0.5, 1.5)
            heapq.heappush(running, (ready, given.trial, given.attempt, given.from_epoch + 1, lr))
        if not running:
            break
        now, trial, attempt, epoch, lr = heapq.heappop(running)
        metrics = {"val_acc": curve(lr, epoch), "val_loss": 1.0, "seconds": 3600.0, "diverged": 0.0}
        reports += 1
        action = search.report(trial, attempt, epoch, metrics)
        if action == "continue":
            heapq.heappush(running, (now + generator.uniform(0.5, 1.5), trial, attempt, epoch + 1, lr))
        elif action != "pause":
            ended += 1
        if reports % max(1, trials // 4) == 0:
            seconds, memory = time.perf_counter() - begun, cost()["megabytes"]
            print(f"{ended:7} ended {reports:8} reports {seconds:7.1f} s, {memory:5.0f} MB with the log", flush=True)
    seconds, used = time.perf_counter() - begun, cost()["cpu"] - used
    print(
        f"{trials} trials ({sampler}, {scheduler}) on {workers} workers: {seconds:.1f} s, {used:.1f} s of processor "
        f"time, {used / trials * 1e3:.3f} ms/trial, {used / reports * 1e6:.0f} µs/report, "
        f"{cost()['megabytes']:.0f} MB; finished: {search.finished}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("side-by-side", "virtual", "one"))
    parser.add_argument("--kind", choices=tuple(RUNS), default="ours")
    parser.add_argument("--trials", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--sampler", choices=("random", "tpe", "tpe-rung"), default="random")
    parser.add_argument("--scheduler", choices=("asha", "promotion"), default="asha")
    given = parser.parse_args()
    if given.what == "virtual":
        virtual(given.workers, given.trials or 100_000, given.sampler, given.scheduler)
    elif given.what == "side-by-side":
        side_by_side(given.trials or 2000, given.rounds)
    else:
        one_run(given.kind, given.trials or 2000)


if __name__ == "__main__":
    main()
