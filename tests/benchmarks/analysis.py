"""How long a study of 10,000 trials of 100 epochs takes to load, with Ray's and Optuna's own tables beside it.

Writes synthetic studies to a temporary folder and times the log, both frames and the best table, in a fresh
interpreter for each repeat. `python -m tests.benchmarks.analysis` writes output/analysis.txt beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.event_records import event_to_record
from analysis.events import EpochReported, Event, TrialSuggested
from analysis.frames import METRICS
from analysis.log import LOG_FILE, header_line
from tests.benchmarks.analysis_peers import MEASURE_OPTUNA, MEASURE_RAY, write_optuna, write_ray

OUTPUT = Path(__file__).parent / "output" / "analysis.txt"
DISTINCT = 100  # curves that differ; the trials repeat them

MEASURE = """
import json, sys, time
import pandas, pyarrow.csv
from analysis import best_table, open_study
begin = time.perf_counter()
study = open_study(sys.argv[1])
columns = study.columns
log = time.perf_counter()
study.trials, study.epochs
frames = time.perf_counter()
best_table(study)
table = time.perf_counter()
rows = len(study.trials), len(study.epochs)
print(json.dumps({"log": log - begin, "frames": frames - log, "best table": table - frames, "rows": rows}))
"""


def write_study(folder: Path, trials: int, epochs: int) -> None:
    log = folder / LOG_FILE
    log.parent.mkdir(parents=True)
    spec = {
        "name": "synthetic",
        "seed": 0,
        "trials": trials,
        "epochs": epochs,
        "config": {},
        "space": {"lr": {}, "gate": {}},
    }
    header = {"schema": 1, "created": "2026-01-01T00:00:00+00:00", "base_config": {}, "spec": spec}
    (folder / "study.json").write_text(json.dumps(header))
    curves = [list(lines(number, epochs)) for number in range(DISTINCT)]
    with log.open("wb") as file:
        file.write(header_line())
        for trial in range(1, trials + 1):
            lr = 10.0 ** -(trial % 4)
            file.write(line(TrialSuggested(trial, trial, {"lr": lr, "gate": "entropy"}, trial, "random")))
            number = b'"trial":%d,' % trial
            file.writelines(each.replace(b'"trial":0,', number) for each in curves[trial % DISTINCT])


def curve(number: int, epochs: int) -> Iterator[dict[str, float]]:
    """Every metric that the frames have, with all digits of a double-precision number."""
    rng = random.Random(number)
    for _ in range(epochs):
        yield {name: rng.random() for name in METRICS} | {"val_images": 5000.0, "diverged": 0.0}


def lines(number: int, epochs: int) -> Iterator[bytes]:
    for epoch, metrics in enumerate(curve(number, epochs), start=1):
        action = "complete" if epoch == epochs else "continue"
        yield line(EpochReported(1.7e9 + epoch / 7, 0, 1, epoch, metrics, action))


def line(event: Event) -> bytes:
    """As the driver writes it."""
    return json.dumps(event_to_record(event), separators=(",", ":")).encode() + b"\n"


def measured(code: str, place: Path, repeats: int) -> list[dict[str, float]]:
    command = [sys.executable, "-c", code, str(place)]
    return [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(repeats)]


def told(name: str, seconds: list[float]) -> str:
    return f"  {name:42} {statistics.median(seconds):8.3f} ({min(seconds):.3f} to {max(seconds):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer-trials", type=int, default=1_000, help="Trials for Ray and Optuna; 0: leave them out.")
    options = parser.parse_args()
    report = []
    with tempfile.TemporaryDirectory() as temporary:
        for trials in dict.fromkeys((options.trials, options.peer_trials or options.trials)):
            folder = Path(temporary) / f"study-{trials}"
            write_study(folder, trials, options.epochs)
            runs = measured(MEASURE, folder, options.repeats)
            size = (folder / LOG_FILE).stat().st_size / 1e6
            report.append(f"{trials} trials x {options.epochs} epochs, log of {size:.0f} MB")
            report += [told(name, [run[name] for run in runs]) for name in ("log", "frames", "best table")]
        if options.peer_trials:
            trials, folder = options.peer_trials, Path(temporary)
            report.append(f"the same {trials} trials elsewhere: the table of trials, from files")
            experiment = write_ray(folder, trials, lambda number: curve(number, options.epochs))
            runs = measured(MEASURE_RAY, experiment, options.repeats)
            report.append(told("Ray, ResultGrid.get_dataframe", [run["table"] for run in runs]))
            journal = write_optuna(folder, trials, lambda number: curve(number, options.epochs))
            runs = measured(MEASURE_OPTUNA, journal, options.repeats)
            report.append(told("Optuna, trials_dataframe (val_acc alone)", [run["table"] for run in runs]))
    head = [
        f"{platform.platform()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}",
        f"Python {platform.python_version()}, "
        f"pandas {pd.__version__}, pyarrow {pa.__version__}, numpy {np.__version__}",
        f"seconds, n = {options.repeats}, median (least to most), files cached, imports left out:",
    ]
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text("\n".join([*head, *report]) + "\n")
    print(OUTPUT.read_text(), end="")


if __name__ == "__main__":
    main()
