"""How long a study of 10,000 trials of 100 epochs takes to load.

Writes a synthetic study to a temporary folder and times the log, both frames and the best table, in a fresh
interpreter for each repeat. `python tests/benchmarks/analysis.py` writes output/analysis.txt beside it.
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

from analysis.events import EpochReported, Event, TrialSuggested, event_to_record
from analysis.frames import METRICS
from analysis.log import LOG_FILE, header_line

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
    curves = [list(curve(random.Random(number), epochs)) for number in range(DISTINCT)]
    with log.open("wb") as file:
        file.write(header_line())
        for trial in range(1, trials + 1):
            lr = 10.0 ** -(trial % 4)
            file.write(line(TrialSuggested(trial, trial, {"lr": lr, "gate": "entropy"}, trial, "random")))
            number = b'"trial": %d,' % trial
            file.writelines(each.replace(b'"trial": 0,', number) for each in curves[trial % DISTINCT])


def curve(rng: random.Random, epochs: int) -> Iterator[bytes]:
    for epoch in range(1, epochs + 1):
        metrics = {name: rng.random() for name in METRICS} | {"val_images": 5000.0, "diverged": 0.0}
        action = "complete" if epoch == epochs else "continue"
        yield line(EpochReported(1.7e9 + rng.random(), 0, 1, epoch, metrics, action))


def line(event: Event) -> bytes:
    return json.dumps(event_to_record(event)).encode() + b"\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "study"
        write_study(folder, options.trials, options.epochs)
        size = (folder / LOG_FILE).stat().st_size
        command = [sys.executable, "-c", MEASURE, str(folder)]
        runs = [
            json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(options.repeats)
        ]
    versions = f"Python {platform.python_version()}, pandas {pd.__version__}, pyarrow {pa.__version__}"
    lines = [
        f"{options.trials} trials x {options.epochs} epochs, log of {size / 1e6:.0f} MB",
        f"{platform.platform()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}",
        f"{versions}, numpy {np.__version__}",
        f"seconds, n = {options.repeats}, median (least to most), file cached, imports left out:",
    ]
    for name in ("log", "frames", "best table"):
        seconds = [run[name] for run in runs]
        lines.append(f"  {name:10} {statistics.median(seconds):7.3f} ({min(seconds):.3f} to {max(seconds):.3f})")
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text("\n".join(lines) + "\n")
    print(OUTPUT.read_text(), end="")


if __name__ == "__main__":
    main()
