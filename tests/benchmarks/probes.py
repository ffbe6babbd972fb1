"""What a rung knows of the end, plain and with a decayed probe: the numbers of docs/probes.md.

    python -m tests.benchmarks.probes record digits --dir DIR [--trials 48] [--workers 2]
    python -m tests.benchmarks.probes record npz:FILE --halve --dir DIR --trials 24
    python -m tests.benchmarks.probes keep DIR --to tests/benchmarks/recorded/NAME
    python -m tests.benchmarks.probes write tests/benchmarks/recorded/* --output docs/probes.md

`record` trains configurations drawn at random to the end, never stopping one, with probes of several lengths at a ninth
and at a third of the epochs. What it leaves is a study: a log that every command reads, and that is gone on with where
it was interrupted. `keep` copies of it what the tables need.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.events import EpochReported, Event, SessionStarted
from analysis.files import write_atomic
from analysis.log import LOG_FILE, event_line, header_line, read_log
from analysis.study import STUDY_FILE
from tests.benchmarks.probe_tables import tables
from tune_gate.search import Assignment, Search
from tune_gate.spec import StudySpec, study_spec
from tune_gate.study_dir import create_study, read_spec, versions

#: Lengths of the probes, as shares of the epochs so far; the first is the study's, under the names of production.
SHARES = (0.25, 0.05, 0.1, 0.5)

#: What is kept of an epoch, beside its probes.
KEPT = ("val_acc", "diverged", "seconds", "val_images")

SPACE: Mapping[str, Any] = {
    "base": "gate-core",
    "schedule": {"choice": ["multistep", "cosine", "constant", "stable-decay"]},
}


@dataclass(frozen=True, slots=True)
class Work:
    """One configuration, to be trained to the end."""

    assignment: Assignment
    shares: tuple[float, ...]  # lengths of the probes at each


def spec_of(data: str, trials: int, epochs: int, seed: int, share: float) -> StudySpec:
    """The study that records; on data that have no validation split of their own, 40 % of the images are one."""
    return study_spec(
        {
            "name": "probes",
            "seed": seed,
            "trials": trials,
            "epochs": epochs,
            "config": {"data": data, "depth": 14, "val_fraction": 0.4},
            "space": SPACE,
            "scheduler": {"kind": "full", "probe": {"share": share, "at": rungs_of(epochs)}},
            "sampler": {"kind": "random"},
        }
    )


def rungs_of(epochs: int) -> tuple[int, ...]:
    """A ninth and a third of the epochs."""
    return max(1, round(epochs / 9)), max(1, round(epochs / 3))


def record(spec: StudySpec, study: Path, workers: int, shares: tuple[float, ...]) -> None:
    """Train what the study in `study` still lacks, so many configurations at a time."""
    spec = read_spec(study) if (study / STUDY_FILE).exists() else create_study(spec, study)
    search = Search(spec, study)
    search.begin("benchmark", os.getpid(), versions())
    waiting: dict[int, Assignment] = {}
    while (assignment := search.next_assignment()) is not None:
        waiting[assignment.trial] = assignment
    work = [Work(assignment, shares) for assignment in waiting.values()]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for trial, reports in pool.imap_unordered(trained, work):
            assignment = waiting[trial]
            for epoch, metrics in reports[assignment.from_epoch :]:
                search.report(trial, assignment.attempt, epoch, metrics)
            print(f"trial {trial}: {reports[-1][1]['val_acc']:.3f} after {reports[-1][0]} epochs", flush=True)
    search.end()


def trained(work: Work) -> tuple[int, list[tuple[int, dict[str, float]]]]:
    """The trial's number, and its epochs with what is kept of each, from the first one on."""
    from trainables.config import trial_config
    from trainables.device import device_for
    from trainables.probes import probe
    from trainables.training import start_run, train

    run = start_run(trial_config(work.assignment.settings), device_for(1, 0))
    reports = []
    for report in train(run):
        metrics = {name: value for name, value in report.metrics().items() if name in KEPT}
        if report.epoch in work.assignment.probed and not report.diverged:
            for place, share in enumerate(work.shares):
                found = probe(run, share).metrics()
                metrics |= found if place == 0 else {f"{name}_{share:g}": value for name, value in found.items()}
        reports.append((report.epoch, metrics))
    return work.assignment.trial, reports


def halved(source: Path, folder: Path) -> Path:
    """A copy of the images at `source` with half the width and height: means over squares of four pixels."""
    with np.load(source) as arrays:
        small = dict(arrays)
    for name, images in small.items():
        if name.endswith("_images"):
            n, height, width, channels = images.shape
            squares = images.reshape(n, height // 2, 2, width // 2, 2, channels)
            small[name] = np.rint(squares.mean(axis=(2, 4))).astype(np.uint8)
    path = folder / f"{source.stem}-halved.npz"
    np.savez_compressed(path, **small)
    return path


def keep(study: Path, target: Path) -> None:
    """Copy the study, but for the names of places and machines."""
    record = json.loads((study / STUDY_FILE).read_bytes())
    data = record["spec"]["config"]["data"]
    if data.startswith("npz:"):
        data = f"npz:{Path(data.removeprefix('npz:')).name}"
    for config in (record["spec"]["config"], record["given"]["config"], record["base_config"]):
        config["data"] = data
    record["git_commit"] = None
    record.pop("code", None)
    record["base_config"]["data_dir"] = "."
    lines = [header_line(), *(event_line(_anonymous(event)) for event in read_log(study / LOG_FILE))]
    write_atomic(target / LOG_FILE, b"".join(lines))
    write_atomic(target / STUDY_FILE, json.dumps(record, indent=1))


def _anonymous(event: Event) -> Event:
    if isinstance(event, SessionStarted):
        return replace(event, host="recorded", pid=0)
    if isinstance(event, EpochReported):
        return replace(event, metrics={name: float(f"{value:.6g}") for name, value in event.metrics.items()})
    return event


def write(studies: Sequence[Path], output: Path) -> None:
    """Put the tables of `studies` between the marks of the document; its words are kept."""
    text = output.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- tables -->")
    _, _, after = rest.partition("<!-- end of tables -->")
    blocks = "\n".join(line for study in studies for line in tables(study))
    write_atomic(output, f"{before}<!-- tables -->\n\n{blocks}\n<!-- end of tables -->{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("data")
    recording.add_argument("--dir", type=Path, required=True)
    recording.add_argument("--trials", type=int, default=48)
    recording.add_argument("--epochs", type=int, default=27)
    recording.add_argument("--seed", type=int, default=0)
    recording.add_argument("--workers", type=int, default=2)
    recording.add_argument("--shares", type=float, nargs="+", default=SHARES, help="of the epochs so far")
    recording.add_argument("--halve", action="store_true", help="images of half the width and height; npz only")
    keeping = commands.add_parser("keep")
    keeping.add_argument("study", type=Path)
    keeping.add_argument("--to", type=Path, required=True)
    writing = commands.add_parser("write")
    writing.add_argument("studies", type=Path, nargs="+")
    writing.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.command == "keep":
        keep(arguments.study, arguments.to)
    elif arguments.command == "write":
        write(arguments.studies, arguments.output)
    else:
        data = arguments.data
        if arguments.halve:  # beside the study, which needs them again when it goes on
            data = f"npz:{halved(Path(data.removeprefix('npz:')), arguments.dir.parent)}"
        shares = tuple(arguments.shares)
        spec = spec_of(data, arguments.trials, arguments.epochs, arguments.seed, shares[0])
        record(spec, arguments.dir, arguments.workers, shares)


if __name__ == "__main__":
    main()
