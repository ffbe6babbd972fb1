"""What others see of a search: Ray's callbacks, and its metrics."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from analysis.events import AttemptStarted, EpochReported, TrialSuggested
from analysis.trials import fold_trials
from tune_gate import metrics
from tune_gate.errors import SpecError
from tune_gate.observers import OBSERVERS, callbacks
from tune_gate.spec import study_spec


def test_tensorboard_comes_with_ray_and_others_name_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = callbacks({"tensorboard": {}})
    assert type(found).__name__ == "TBXLoggerCallback"
    monkeypatch.setattr("tune_gate.observers.find_spec", lambda _: None)
    with pytest.raises(SpecError, match="observer 'mlflow' needs the package mlflow: pip install mlflow"):
        callbacks({"mlflow": {"experiment_name": "gates"}})


def test_an_unknown_observer_and_unknown_arguments_are_named() -> None:
    with pytest.raises(SpecError, match="unknown observer 'tensorbord'; did you mean 'tensorboard'"):
        callbacks({"tensorbord": {}})
    with pytest.raises(SpecError, match=r"observer 'tensorboard': .*colour"):
        callbacks({"tensorboard": {"colour": "red"}})


@pytest.mark.parametrize("name", OBSERVERS)
def test_each_observer_is_a_callback_of_this_ray(name: str) -> None:
    import importlib

    observer = OBSERVERS[name]
    from ray import tune

    assert issubclass(getattr(importlib.import_module(observer.module), observer.name), tune.Callback)


def test_a_spec_without_observers_reads_as_before() -> None:
    assert study_spec({}).observers == {}
    assert study_spec({"observers": {"tensorboard": {}}}).to_record()["observers"] == {"tensorboard": {}}


class Recorded:
    """A gauge that remembers."""

    told: ClassVar[dict[tuple[str, ...], float]] = {}

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name, self.keys = name, tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self.keys)
        self.told[self.name, *tags.values()] = value


def test_metrics_say_where_the_search_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "Gauge", Recorded)
    measured: dict[str, Any] = {"val_acc": 0.5, "seconds": 1800.0}
    trials = fold_trials(
        [
            TrialSuggested(0.0, 1, {}, 0, "default"),
            AttemptStarted(0.0, 1, 1, 0),
            EpochReported(1.0, 1, 1, 1, measured, "continue"),
            EpochReported(2.0, 1, 1, 2, {**measured, "val_acc": 0.4}, "stop"),
            TrialSuggested(2.0, 2, {}, 0, "random"),
        ]
    )
    spec = study_spec({"name": "s", "resources": {"gpus": 0.5, "cpus": 2}})
    metrics.SearchMetrics(spec).update(trials.values())
    told = Recorded.told
    assert (told["tune_gate_trials", "s", "stopped"], told["tune_gate_trials", "s", "waiting"]) == (1, 1)
    assert (told["tune_gate_trials", "s", "running"], told["tune_gate_epochs", "s"]) == (0, 2)
    assert told["tune_gate_best", "s"] == 0.5
    assert (told["tune_gate_hours", "s", "gpu"], told["tune_gate_hours", "s", "cpu"]) == (0.5, 2.0)
