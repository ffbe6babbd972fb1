"""A small source for every importer: three trials, one complete, one stopped, one failed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

START = 1_700_000_000.0
CURVES = {"a": (0.5, 0.6, 0.7), "b": (0.4, 0.45)}


def write_csv(folder: Path) -> str:
    folder.mkdir(parents=True)
    (folder / "trials.csv").write_text(
        "trial,state,started,seed,reason,lr,gate,milestones\n"
        'a,completed,2023-11-14T22:13:20Z,7,,0.1,none,"[0.4, 0.6]"\n'
        "b,stopped,1700000010,,,0.01,entropy,\n"
        "c,failed,1700000020,,CUDA out of memory,0.001,entropy,\n"
    )
    rows = [
        f"{trial},{epoch},{START + 10 * epoch},{value},36"
        for trial, curve in CURVES.items()
        for epoch, value in enumerate(curve, start=1)
    ]
    (folder / "epochs.csv").write_text("\n".join(["trial,epoch,time,val_acc,seconds", *rows]) + "\n")
    return str(folder)


def write_ray(folder: Path) -> str:
    settings = {"a": {"lr": 0.1, "net": {"depth": 3}}, "b": {"lr": 0.01, "net": {"depth": 5}}, "c": {"lr": 0.001}}
    trial_data = []
    for name, config in settings.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "params.json").write_text(json.dumps(config))
        rows = [
            {
                "mean_accuracy": 100 * value,
                "training_iteration": epoch,
                "timestamp": START + 10 * epoch,
                "time_this_iter_s": 10.0,
                "done": epoch == len(CURVES[name]),
                "trial_id": f"x_{name}",
                "config": config,
            }
            for epoch, value in enumerate(CURVES.get(name, ()), start=1)
        ]
        torn = '{"mean_accuracy": 4' if name == "b" else ""
        (folder / name / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows) + torn)
        state = {"trial_id": f"x_{name}", "relative_logdir": name, "status": "ERROR" if name == "c" else "TERMINATED"}
        trial_data.append([json.dumps(state), "{}"])
    (folder / "c" / "error.txt").write_text("Failure # 1\nTraceback\nRuntimeError: CUDA out of memory\n")
    (folder / "experiment_state-2026.json").write_text(json.dumps({"trial_data": trial_data}))
    (folder / "tuner.pkl").write_bytes(pickle.dumps({"_tune_config": TuneConfig()}))
    return str(folder)


class Bracket:
    def __init__(self) -> None:
        self._rungs = [(2, {})]


class Scheduler:
    def __init__(self) -> None:
        self._brackets, self._max_t, self._reduction_factor = [Bracket()], 3, 4.0


class TuneConfig:
    """Shaped as Ray's, so that a pickle of it is read as Ray's is."""

    def __init__(self) -> None:
        self.metric, self.mode, self.scheduler = "mean_accuracy", "max", Scheduler()


def write_optuna(folder: Path) -> str:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True)
    url = f"sqlite:///{folder / 'study.db'}"
    study = optuna.create_study(storage=url, study_name="foreign", direction="maximize")
    space = {
        "lr": optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
        "gate": optuna.distributions.CategoricalDistribution(["none", "entropy"]),
    }
    states = optuna.trial.TrialState
    for name, state, lr in (("a", states.COMPLETE, 0.1), ("b", states.PRUNED, 0.01), ("c", states.FAIL, 0.001)):
        curve = CURVES.get(name, ())
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                value=curve[-1] if state == states.COMPLETE else None,
                params={"lr": lr, "gate": "none"},
                distributions=space,
                intermediate_values=dict(enumerate(curve)),
            )
        )
    return url


def write_tensorboard(folder: Path) -> str:
    for name, curve in CURVES.items():
        write_events(folder / f"lr0.1_{name}", {"val_acc": curve})
    write_events(folder / "lr0.1_c", {})
    return str(folder)


def write_events(folder: Path, tags: dict[str, tuple[float, ...]]) -> None:
    writer = EventFileWriter(str(folder))
    for tag, values in tags.items():
        for step, value in enumerate(values, start=1):
            summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(wall_time=START + 10 * step, step=step, summary=summary))
    writer.close()


def write_curves(folder: Path) -> str:
    folder.mkdir(parents=True)
    axes = [
        {"name": "lr", "type": "float", "lo": 0.001, "hi": 0.1, "log": True},
        {"name": "gate", "type": "cat", "choices": ["none", "entropy"]},
    ]
    values = np.full((3, 3), np.nan)
    for row, curve in enumerate(CURVES.values()):
        values[row, : len(curve)] = curve
    path = folder / "table.npz"
    settings = np.array([[1.0, 0.0], [0.5, 1.0], [0.0, 1.0]])
    np.savez(path, X=settings, V=100 * values, S=100 * values - 1, space=json.dumps(axes), unit="acc%")
    return str(path)


SOURCES: dict[str, Callable[[Path], str]] = {
    "csv": write_csv,
    "curves": write_curves,
    "optuna": write_optuna,
    "ray": write_ray,
    "tensorboard": write_tensorboard,
}
