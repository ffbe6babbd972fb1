"""Studies made of curves, for the tests of analysis."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.events import (
    Action,
    AttemptStarted,
    EpochReported,
    Event,
    RungEntry,
    SessionEnded,
    SessionStarted,
    TrialSuggested,
)
from analysis.log import LOG_FILE
from analysis.rungs import standing
from analysis.study import Study, open_study
from tests.analysis.conftest import STUDY, log_bytes

SPACE = {
    "lr": {"log_uniform": [0.001, 1.0]},
    "gate": ["entropy", "none"],
    "kappa": {"uniform": [1.0, 4.0], "when": {"gate": "entropy"}},
}


def write_curves(
    folder: Path,
    curves: Sequence[Sequence[float]],
    settings: Sequence[Mapping[str, Any]] = (),
    rungs: Sequence[int] = (),
    rates: Sequence[Sequence[float]] = (),
    space: Mapping[str, Any] = SPACE,
    more: Sequence[Mapping[str, float]] = (),
) -> Study:
    """A study with these validation accuracies by trial and epoch, one after the other; NaN: it diverged there.

    With `rungs` it is judged there as ASHA does (reduction factor 3). `more` are metrics that a trial's epochs share.
    """
    epochs = max(map(len, curves))
    events: list[Event] = [SessionStarted(0.0, 1, "host", 1)]
    seen: dict[int, list[float]] = {rung: [] for rung in rungs}
    now = 0.0
    for trial, curve in enumerate(curves, start=1):
        chosen = settings[trial - 1] if settings else {"lr": 0.1, "gate": "none"}
        events += [TrialSuggested(now, trial, chosen, trial, "random"), AttemptStarted(now, trial, 1, 0)]
        for epoch, value in enumerate(curve, start=1):
            now += 10.0
            rate = rates[trial - 1][epoch - 1] if rates else 0.1
            entry, action = _judged(seen, epoch, value), "complete" if epoch == len(curve) else "continue"
            if math.isnan(value):
                entry, action = None, "diverge"
            elif entry is not None and entry.rank > entry.survivors:
                action = "stop"
            report = _report(now, trial, epoch, value, rate, action, entry)  # type: ignore[arg-type]
            own = more[trial - 1] if more else {}
            events.append(replace(report, metrics={**report.metrics, **own}))
            if action != "continue":
                break
    events.append(SessionEnded(now, 1, "finished"))
    scheduler = {"kind": "asha" if rungs else "full", "reduction_factor": 3, "rungs": list(rungs)}
    spec = {**STUDY["spec"], "trials": len(curves), "epochs": epochs, "space": dict(space), "scheduler": scheduler}  # type: ignore[dict-item]
    (folder / LOG_FILE).parent.mkdir(parents=True)
    (folder / "study.json").write_text(json.dumps({**STUDY, "spec": spec}))
    (folder / LOG_FILE).write_bytes(log_bytes(events))
    return open_study(folder)


def noisy_curves(trials: int, epochs: int, seed: int, noise: float = 0.02) -> list[list[float]]:
    """Curves that rise to an end of their own and are told apart ever better; one in twelve diverges."""
    draw = random.Random(seed)
    curves = []
    for _ in range(trials):
        end = draw.uniform(0.6, 0.95)
        curve = [end * (1 - math.exp(-4 * epoch / epochs)) + draw.gauss(0, noise) for epoch in range(1, epochs + 1)]
        curve = [min(1.0, max(0.0, value)) for value in curve]
        if draw.random() < 1 / 12:
            curve[draw.randrange(epochs)] = math.nan
        curves.append(curve)
    return curves


def random_settings(trials: int, seed: int) -> list[dict[str, Any]]:
    """Points of `SPACE`."""
    draw = random.Random(seed)
    points: list[dict[str, Any]] = []
    for _ in range(trials):
        gate = draw.choice(["entropy", "none"])
        point: dict[str, Any] = {"lr": 10 ** draw.uniform(-3, 0), "gate": gate}
        points.append({**point, "kappa": draw.uniform(1, 4)} if gate == "entropy" else point)
    return points


def _judged(seen: dict[int, list[float]], epoch: int, value: float) -> RungEntry | None:
    if epoch not in seen or math.isnan(value):
        return None
    seen[epoch].append(value)
    found = standing(seen[epoch], value, 3)
    return RungEntry(epoch, value, found.cutoff, found.rank, found.peers, found.survivors)


def _report(
    time: float, trial: int, epoch: int, value: float, rate: float, action: Action, entry: RungEntry | None
) -> EpochReported:
    metrics = {
        "val_acc": value,
        "val_loss": 1.0 - value,
        "train_loss": 0.9 * (1.0 - value),
        "gate_mean": 0.5,
        "val_acc_shallow": 0.9 * value,
        "val_acc_deep": value,
        "seconds": 9.0,
        "lr": rate,
        "diverged": float(action == "diverge"),
        "val_images": 500.0,
    }
    return EpochReported(time, trial, 1, epoch, metrics, action, entry)


#: Ten images of two classes. The mix errs on the two with the largest g, the shallow exit on those and one more.
LABEL = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
MIXED = [0, 0, 0, 0, 1, 1, 1, 1, 1, 0]
SHALLOW = [0, 0, 0, 1, 1, 1, 1, 1, 1, 0]
DEEP = [0, 0, 0, 0, 0, 1, 1, 1, 0, 0]
G = [0.1, 0.2, 0.3, 0.7, 0.9, 0.1, 0.2, 0.3, 0.4, 0.8]
MACS = {"stem": 10, "stage1": 20, "stage2": 20, "stage3_first": 10, "skippable": 39, "classifier": 1, "gate": 5}


def write_survey(path: Path, noisy: list[bool] | None = None, **about: object) -> Path:
    """Write a survey of these ten images to `path`; `about` overrides its facts."""
    facts = {"format": 1, "trial": 1, "epoch": 9, "gate": "entropy", "gate_input": "early", "classes": ["cat", "dog"],
             "macs": MACS, **about}  # fmt: skip
    answers = {"label": LABEL, "mixed": MIXED, "shallow": SHALLOW, "deep": DEEP, "g": G}
    arrays = {f"validation_{name}": np.array(values) for name, values in answers.items()}
    if noisy is not None:
        arrays |= {f"training_{name}": np.array(values) for name, values in answers.items()}
        arrays["training_noisy"] = np.array(noisy)
    order = np.argsort(-np.array(G), kind="stable")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        about=np.array(json.dumps(facts)),
        hardest=order[:3],
        easiest=order[::-1][:3],
        pictures=np.zeros((6, 3, 4, 4), dtype=np.uint8),
        **arrays,
    )
    return path
