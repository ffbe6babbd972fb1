"""What Prometheus sees of a search, through Ray's own metrics: trials by state, epochs, the best value, and hours."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import get_args

from ray.util.metrics import Gauge

from analysis.trials import Trial, TrialState
from tune_gate.spec import StudySpec


class SearchMetrics:
    """Gauges of one study. Ray names them with `ray_` before, and Prometheus scrapes them from each node's agent."""

    def __init__(self, spec: StudySpec) -> None:
        self._spec = spec
        self._trials = _gauge("trials", "Trials, by state", "state")
        self._epochs = _gauge("epochs", "Epochs that count")
        self._best = _gauge("best", f"The best {spec.metric} so far")
        self._hours = _gauge("hours", "Hours of training, times what a trial has of GPUs or of CPUs", "device")
        self._values: list[tuple[Gauge, float, dict[str, str]]] = []  # each with its labels

    def tell(self) -> None:
        """Tell again what was found last. Ray drops a value that was not set since it was exported last, and Prometheus
        then takes its line for ended; so tell it as often as Ray may export, each second.
        """
        for gauge, value, labels in self._values:
            gauge.set(value, labels)

    def update(self, trials: Iterable[Trial]) -> None:
        """Find where the search stands, and tell it."""
        states: Counter[TrialState] = Counter()
        epochs, seconds, best = 0, 0.0, -math.inf
        for trial in trials:
            states[trial.state] += 1
            epochs += len(trial.reports)
            for report in trial.reports.values():
                seconds += report.metrics.get("seconds", 0.0)
                value = report.metrics.get(self._spec.metric, math.nan)
                best = value if value > best else best
        study, needs = {"study": self._spec.name}, self._spec.resources
        self._values = [
            *((self._trials, states[state], {**study, "state": state}) for state in get_args(TrialState)),
            (self._epochs, epochs, study),
            (self._hours, seconds / 3600 * needs.gpus, {**study, "device": "gpu"}),
            (self._hours, seconds / 3600 * needs.cpus, {**study, "device": "cpu"}),
        ]
        if best > -math.inf:
            self._values.append((self._best, best, study))
        self.tell()


def _gauge(name: str, description: str, *keys: str) -> Gauge:
    return Gauge(f"tune_gate_{name}", description=description, tag_keys=("study", *keys))
