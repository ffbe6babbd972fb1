"""What others see of a search: Ray's callbacks, and its metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from analysis.events import AttemptStarted, EpochReported, TrialSuggested
from analysis.trials import fold_trials
from tests.tune_gate.test_on_ray import ROOT
from tests.tune_gate.test_on_ray import spec as small_study
from tune_gate import metrics
from tune_gate.api import launch
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


def test_an_observer_that_cannot_begin_is_the_studys_mistake_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_key(*_: Any, **__: Any) -> None:
        raise ValueError("Traceback\nNo API key found")

    (found,) = callbacks({"tensorboard": {}})
    monkeypatch.setattr(type(found).__mro__[1], "setup", without_key)
    with pytest.raises(SpecError, match="observer 'tensorboard' cannot begin: No API key found"):
        found.setup(stop=None)


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
    searched = metrics.SearchMetrics(spec)
    searched.update(trials.values())
    told = dict(Recorded.told)
    assert (told["tune_gate_trials", "s", "stopped"], told["tune_gate_trials", "s", "waiting"]) == (1, 1)
    assert (told["tune_gate_trials", "s", "running"], told["tune_gate_epochs", "s"]) == (0, 2)
    assert told["tune_gate_best", "s"] == 0.5
    assert (told["tune_gate_hours", "s", "gpu"], told["tune_gate_hours", "s", "cpu"]) == (0.5, 2.0)
    Recorded.told.clear()
    searched.tell()  # Ray forgets a value that is not told again soon
    assert told == Recorded.told


@pytest.mark.slow
def test_mlflow_and_wandb_hear_of_each_trial_what_the_log_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("wandb")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("WANDB_API_KEY", "none is needed offline")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    watchers = {"mlflow": {"tracking_uri": store, "experiment_name": "gates"}, "wandb": {"project": "gates"}}
    outcome = launch(small_study("Slow", trials=3, observers=watchers), tmp_path / "study")
    assert outcome.ended == "finished"
    client = mlflow.tracking.MlflowClient(store)
    runs = client.search_runs([client.get_experiment_by_name("gates").experiment_id])
    last = outcome.study.epochs.groupby("trial").last()["val_acc"]
    told = {int(run.data.params["trial"]): run.data.metrics["metrics/val_acc"] for run in runs}
    assert told == pytest.approx(dict(last))
    assert {run.info.run_name for run in runs} == {f"trial-{number:04d}-attempt-1" for number in (1, 2, 3)}
    assert len(list(tmp_path.glob("wandb/offline-run-*/*.wandb"))) == 3
