"""What the campaign's trainable traces, and what is counted from logs and traces."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.events import (
    PROBE_VALUE,
    EpochReported,
    Event,
    ResourcesChosen,
    TrialPromoted,
    TrialRetired,
    TrialSuggested,
)
from analysis.log import LOG_FILE, read_log
from analysis.trials import Trial
from tests.faults.examine import measuring_problems, probes_missing, redone, wrong_decisions
from tests.faults.flavours import FLAVOURS, Flavour
from tests.faults.studies import held
from tests.faults.traced import STUDY, TRACE, Moment, Traced, at_work, inside, measuring_trace, read_trace
from tests.tune_gate.virtual_cluster import Cluster
from trainables.work import ProbeOrder, WorkOrder
from tune_gate.schedulers import build_scheduler
from tune_gate.spec import study_spec

SETTINGS = {"seed": 0, "lr": 0.1, "gate_iters": 1}


def traced(folder: Path, **order: Any) -> Traced:
    return Traced(WorkOrder(1, 1, SETTINGS, 0, str(folder), every=1, keep=2, cpus=1.0, gpus=0.0, **order).to_dict())


def until(moment: Moment, study: Path) -> None:
    while not inside(study, moment):
        time.sleep(0.01)


def test_a_held_study_begins_no_epoch(tmp_path: Path) -> None:
    study = tmp_path / "study"
    trainable = traced(study / "trials" / "0001")
    trace = study / "trials" / "0001" / TRACE
    with held(study, "epoch"):
        thread = threading.Thread(target=trainable.step)
        thread.start()
        while not at_work(study):
            time.sleep(0.01)
        assert not inside(study, "epoch")
        assert [line["what"] for line in read_trace(trace)] == ["come"]
    thread.join()
    assert [line["what"] for line in read_trace(trace)] == ["come", "begun", "saved"]
    assert not at_work(study)


def test_a_held_probe_is_under_way_and_does_not_end(tmp_path: Path) -> None:
    study = tmp_path / "study"
    trainable = traced(study / "trials" / "0001", probes=ProbeOrder((1,), 0.25))
    with held(study, "probe"):
        thread = threading.Thread(target=trainable.step)
        thread.start()
        until("probe", study)
        assert not inside(study, "epoch")
        assert thread.is_alive()
    thread.join()
    assert not inside(study, "probe")
    assert [line["what"] for line in read_trace(study / "trials" / "0001" / TRACE)] == [
        "come",
        "begun",
        "probing",
        "saved",
    ]


def test_a_measured_trial_is_traced_beside_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tmp_path / "study"
    monkeypatch.setenv(STUDY, str(study))
    trainable = traced(tmp_path / "elsewhere" / "trials" / "0001")
    with held(study, "measuring run"):
        thread = threading.Thread(target=trainable.step)
        thread.start()
        until("measuring run", study)
    thread.join()
    assert [line["what"] for line in read_trace(measuring_trace(study))] == ["measuring", "saved"]
    assert traced(study / "trials" / "0001").step()["epoch"] == 1
    assert [line["what"] for line in read_trace(study / "trials" / "0001" / TRACE)] == ["come", "begun", "saved"]


def test_nothing_is_under_way_in_a_process_that_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        line = {"what": "measuring", "attempt": 1, "epoch": 1, "time": time.time() + 1, "process": process.pid}
        measuring_trace(tmp_path).write_text(json.dumps(line) + "\n")
        assert inside(tmp_path, "measuring run")
        process.kill()
    assert not inside(tmp_path, "measuring run")


def test_work_that_was_lost_counts_to_the_strike_that_cut_it_off(tmp_path: Path) -> None:
    lines = [
        ("come", 1, 1, 9.0),
        ("begun", 1, 1, 10.0),
        ("saved", 1, 1, 10.2),
        ("begun", 1, 2, 10.2),
        ("probing", 1, 2, 10.4),
    ]
    trace = tmp_path / "trials" / "0001" / TRACE
    trace.parent.mkdir(parents=True)
    told = ({"what": what, "attempt": attempt, "epoch": epoch, "time": at} for what, attempt, epoch, at in lines)
    trace.write_text("".join(json.dumps(line) + "\n" for line in told))
    trial = Trial(1, {}, 0, "random", 0.0)
    report = EpochReported(10.2, 1, 1, 1, {}, "continue")
    assert redone(tmp_path, {1: trial}, [report], [5.0, 10.5]) == pytest.approx([0.0, 0.3])


@pytest.fixture(scope="module", params=["promotion-probes", "asha-probes"])
def searched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Flavour, list[Event]]:
    flavour = FLAVOURS[request.param]
    folder = tmp_path_factory.mktemp(flavour.name)
    Cluster(study_spec(flavour.spec(0, 2, 2)), folder, workers=2).run()
    return flavour, read_log(folder / LOG_FILE)


def test_decisions_and_probes_are_counted_from_the_log(searched: tuple[Flavour, list[Event]]) -> None:
    flavour, events = searched
    spec = flavour.spec(0, 2, 2)
    reports = [event for event in events if isinstance(event, EpochReported)]
    assert wrong_decisions(spec, events) == 0
    assert probes_missing(study_spec(spec), reports) == 0
    judged = next(event for event in reports if event.rung is not None)
    better = replace(judged, metrics={**judged.metrics, PROBE_VALUE: 0.999})
    assert wrong_decisions(spec, [better if event is judged else event for event in events]) > 0
    bare = replace(judged, metrics={"val_acc": 0.5, "diverged": 0.0})
    assert probes_missing(study_spec(spec), [bare, *reports]) == 1
    assert measuring_problems(study_spec(spec), events) == []


def test_a_wrong_promotion_and_a_wrong_farewell_are_found() -> None:
    spec = FLAVOURS["promotion-probes"].spec(0, 1, 1)
    begun: list[Event] = [TrialSuggested(0.0, trial, {}, 0, "random") for trial in (1, 2, 3)]
    scheduler = build_scheduler(study_spec(spec))
    for trial, value in ((1, 0.7), (2, 0.9), (3, 0.8)):
        metrics = {"val_acc": value, "diverged": 0.0, PROBE_VALUE: value}
        decision = scheduler.decide(trial, 3, metrics)
        begun.append(EpochReported(0.0, trial, 1, 3, metrics, decision.action, decision.rung))
        scheduler.apply(begun[-1])
    assert wrong_decisions(spec, [*begun, TrialPromoted(0.0, 2, 3)]) == 0
    assert wrong_decisions(spec, [*begun, TrialPromoted(0.0, 3, 3)]) == 1
    assert wrong_decisions(spec, [*begun, TrialRetired(0.0, 1, 3)]) == 1


def test_resources_are_to_be_chosen_once_and_first() -> None:
    spec = study_spec(FLAVOURS["auto"].spec(0, 1, 1))
    choice, trial = ResourcesChosen(0.0, {}, "node", "reason"), TrialSuggested(0.0, 1, {}, 0, "default")
    assert measuring_problems(spec, [choice, trial]) == []
    assert measuring_problems(spec, [trial, choice]) == ["resources were chosen after the first trial began"]
    assert measuring_problems(spec, [choice, choice, trial]) == ["resources were chosen 2 times, not 1"]
    assert measuring_problems(spec, [trial]) == ["resources were chosen 0 times, not 1"]
