"""A search whose rungs compare probes: what they decide, what a death leaves, what is said of it, and its cost."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import early_stopping_safety, ledger, open_study, why
from analysis.events import PROBE_SECONDS, PROBE_VALUE, EpochReported
from analysis.log import LOG_FILE, read_log
from tests.tune_gate.curve_trainable import CurveTrainable
from tests.tune_gate.test_expectation import expected
from tests.tune_gate.virtual_cluster import Cluster, Killed, dies_at, essence, metrics_of, probe_of, run_killed
from trainables.probes import ProbeReport
from trainables.work import ProbeOrder, WorkOrder, work_order
from tune_gate.budget import extend_study, plan_extension
from tune_gate.errors import Misuse, SpecError
from tune_gate.failures import report_problem
from tune_gate.inheritance import inherit
from tune_gate.rung_check import rung_warnings
from tune_gate.schedulers import FLOOR, build_scheduler
from tune_gate.search import Search
from tune_gate.spec import StudySpec, study_spec
from tune_gate.study_dir import create_study
from tune_gate.trainable import check_probing
from tune_gate.verify import verify_log

KINDS = pytest.mark.parametrize("kind", ["asha", "promotion"])


def spec_of(kind: str = "asha", trials: int = 12, **changes: Any) -> StudySpec:
    scheduler = {"kind": kind, "rungs": [1, 3], "probe": {"share": 0.25}}
    return study_spec(
        {"name": "probed", "trials": trials, "epochs": 9, "scheduler": scheduler, "sampler": {"startup": 4}, **changes}
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three workers, ended."""
    folder = tmp_path_factory.mktemp("studies") / "probed"
    create_study(spec_of(), folder)
    Cluster(spec_of(), folder, workers=3).run()
    return folder


def at_rungs(folder: Path) -> list[EpochReported]:
    events = read_log(folder / LOG_FILE)
    return [event for event in events if isinstance(event, EpochReported) and event.rung is not None]


# --- the specification


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        ({"probe": {}}, r"'scheduler\.probe\.share': field required"),
        ({"probe": {"share": 0}}, "greater than 0"),
        ({"probe": {"share": True}}, "true and false are no value"),
        ({"probe": {"shar": 0.1}}, r"unknown key 'shar'; did you mean 'share'\? \(in 'scheduler\.probe'\)"),
        ({"probe": {"share": 0.1, "at": [9]}}, r"probe\.at 9 is not below epochs 9"),
        ({"kind": "full", "probe": {"share": 0.1}}, "no rung to probe at"),
    ],
)
def test_mistakes_are_told_in_one_line(scheduler: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        study_spec({"epochs": 9, "scheduler": scheduler})


def test_probes_are_off_by_default() -> None:
    spec = study_spec({"epochs": 9})
    assert (spec.scheduler.probe, spec.rung_metric, spec.scheduler.probed(spec.milestones)) == (None, "val_acc", ())


def test_they_are_taken_at_the_rungs_and_where_asked_for_besides() -> None:
    spec = study_spec({"epochs": 27, "scheduler": {"probe": {"share": 0.1, "at": [2, 9]}}})
    assert spec.scheduler.probed(spec.milestones) == (2, 3, 9)
    record = study_spec({"epochs": 27, "scheduler": {"kind": "full", "probe": {"share": 0.1, "at": [3]}}})
    assert record.scheduler.probed(record.milestones) == (3,)
    assert study_spec(spec.to_record()).scheduler.probe == spec.scheduler.probe


def test_a_probe_says_what_the_log_calls_it() -> None:
    found = ProbeReport(3, 0.5, 1.0, 1.0, 0.2, 3.0, diverged=False).metrics()
    assert (found[PROBE_VALUE], found[PROBE_SECONDS]) == (0.5, 3.0)


def test_an_order_passes_through_ray_whole() -> None:
    order = WorkOrder(1, 1, {}, 0, "folder", 1, 2, 1.0, 0.0, ProbeOrder((1, 3), 0.25))
    assert work_order(order.to_dict()) == order
    assert order.probes is not None
    assert order.probes.longest == 0.75


def test_a_trainable_that_takes_no_probes_is_refused() -> None:
    check_probing(CurveTrainable, spec_of())
    check_probing(object, study_spec({}))
    with pytest.raises(SpecError, match=r"takes no probes; leave 'scheduler\.probe' out"):
        check_probing(object, spec_of())


# --- decisions


@KINDS
def test_a_rung_compares_probes_and_nothing_else_does(kind: str) -> None:
    scheduler = build_scheduler(spec_of(kind))
    for trial, probe in ((1, 0.9), (2, 0.8), (3, 0.7)):
        metrics = {"val_acc": 1 - probe, "diverged": 0.0, PROBE_VALUE: probe}  # the epochs rank the other way round
        decision = scheduler.decide(trial, 1, metrics)
        scheduler.apply(EpochReported(0.0, trial, 1, 1, metrics, decision.action, decision.rung))
        assert decision.rung is not None
        assert (decision.rung.value, decision.rung.rank) == (probe, trial)
    assert decision.action == ("stop" if kind == "asha" else "pause")
    assert scheduler.decide(1, 2, {"val_acc": 0.5, "diverged": 0.0}).action == "continue"
    assert scheduler.decide(1, 9, {"val_acc": 0.5, "diverged": 0.0}).action == "complete"
    assert scheduler.decide(4, 1, {"val_acc": math.nan, "diverged": 0.0}).action == "diverge"


@KINDS
def test_a_probe_that_diverged_is_the_worst_and_the_trial_has_not(kind: str) -> None:
    decision = build_scheduler(spec_of(kind)).decide(1, 1, {"val_acc": 0.5, "diverged": 0.0, PROBE_VALUE: math.nan})
    assert decision.action in ("continue", "pause")
    assert decision.rung is not None
    assert decision.rung.value == FLOOR


def test_a_report_without_its_probe_is_a_mistake_of_the_trainable(tmp_path: Path) -> None:
    search = Search(spec_of(), tmp_path)
    assignment = search.next_assignment()
    assert assignment is not None
    assert assignment.probed == (1, 3)
    with pytest.raises(Misuse, match="trial 1 reports no 'probe_val_acc' at epoch 1"):
        search.report(1, 1, 1, metrics_of(assignment.settings, 1))
    search.close()
    metrics = {"val_acc": 0.5, "diverged": 0.0}
    problem = "the report of epoch 3 has no 'probe_val_acc'"
    assert report_problem({"epoch": 3}, metrics, "val_acc", (1, 3)) == problem
    assert report_problem({"epoch": 2}, metrics, "val_acc", (1, 3)) is None
    assert report_problem({"epoch": 3}, {**metrics, "diverged": 1.0}, "val_acc", (1, 3)) is None
    assert report_problem({"epoch": 3}, {**metrics, PROBE_VALUE: 0.6}, "val_acc", (1, 3)) is None


# --- exactness


@KINDS
@settings(max_examples=15, deadline=None)
@given(kills=st.lists(st.integers(1, 40), max_size=6))
def test_killed_anywhere_it_equals_the_uninterrupted_one(
    kills: list[int], kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec = spec_of(kind, trials=8)
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    Cluster(spec, whole).run()
    for moment in kills:
        try:
            Cluster(spec, broken, survive=dies_at(moment)).run()
        except Killed:
            continue
    Cluster(spec, broken).run()
    assert essence(read_log(broken / LOG_FILE)) == essence(read_log(whole / LOG_FILE))
    assert verify_log(spec, read_log(broken / LOG_FILE)) == []


@KINDS
def test_with_several_workers_killed_an_audit_finds_nothing(kind: str, tmp_path: Path) -> None:
    order = random.Random(3)
    spec = spec_of(kind)
    run_killed(spec, tmp_path, [9, 20, 7], workers=4, order=order)
    Cluster(spec, tmp_path, workers=4, order=order).run()
    assert verify_log(spec, read_log(tmp_path / LOG_FILE)) == []


@KINDS
def test_a_report_that_arrives_twice_is_judged_once(kind: str, tmp_path: Path) -> None:
    """From an older checkpoint an epoch is trained again, and its probe with it; on a GPU it may come out otherwise."""
    search = Search(spec_of(kind), tmp_path, clock=lambda: 0.0)
    search.begin("host", 1, {})
    assignment = search.next_assignment()
    assert assignment is not None
    said = metrics_of(assignment.settings, 1) | probe_of(assignment.settings, 1)
    first = search.report(1, 1, 1, said)
    if first == "continue":
        search.fail(1, 1, "lost", "its worker is gone")
        assert search.next_assignment() is not None
        assert search.report(1, 2, 1, said | {PROBE_VALUE: 0.01}) == first
    search.close()
    entries = [entry.rung for entry in at_rungs(tmp_path)]
    assert {entry.value for entry in entries if entry is not None} == {said[PROBE_VALUE]}
    assert verify_log(spec_of(kind), read_log(tmp_path / LOG_FILE)) == []


def test_an_audit_finds_a_probe_that_was_tampered_with(folder: Path) -> None:
    events = read_log(folder / LOG_FILE)
    index = next(index for index, event in enumerate(events) if isinstance(event, EpochReported) and event.rung)
    event = events[index]
    assert isinstance(event, EpochReported)
    better = replace(event, metrics={**event.metrics, PROBE_VALUE: 0.999})
    without = replace(event, metrics={name: value for name, value in event.metrics.items() if name != PROBE_VALUE})
    for tampered in (better, without):
        found = verify_log(spec_of(), [*events[:index], tampered, *events[index + 1 :]])
        assert [difference.line for difference in found] == [index + 2]


def test_rungs_that_an_extension_adds_are_probed(folder: Path, tmp_path: Path) -> None:
    create_study(spec_of(), tmp_path / "study")
    Cluster(spec_of(), tmp_path / "study", workers=3).run()
    extend_study(tmp_path / "study", plan_extension(tmp_path / "study", trials=14, epochs=30).budget)
    Cluster(spec_of(), tmp_path / "study", workers=3).run()
    probed = [event for event in at_rungs(tmp_path / "study") if event.epoch == 27]
    assert probed
    assert all(event.rung is not None and event.rung.value == event.metrics[PROBE_VALUE] for event in probed)
    assert verify_log(spec_of(), read_log(tmp_path / "study" / LOG_FILE)) == []


# --- what is said of it


def test_why_tells_both_values(folder: Path) -> None:
    study = open_study(folder)
    for event in at_rungs(folder):
        assert event.rung is not None
        said = "\n".join(why(study, event.trial).lines())
        plain, probe = event.metrics["val_acc"], event.metrics[PROBE_VALUE]
        assert (
            f"rung {event.epoch}: val_acc {probe:.4f} after a cool-down (the probe that the rung compares; {plain:.4f} "
            f"without it), rank {event.rung.rank} of {event.rung.peers};"
        ) in said


def test_the_ledger_has_the_probes_apart(folder: Path) -> None:
    study = open_study(folder)
    result = ledger(study)
    assert result.totals["probes"] == pytest.approx(0.25 * len(at_rungs(folder)) / 3600)
    assert sum(result.totals.values()) == pytest.approx(result.allocated)
    reports = [event for event in read_log(folder / LOG_FILE) if isinstance(event, EpochReported)]
    assert study.trials["hours"].sum() * 3600 == pytest.approx(len(reports) + 0.25 * len(at_rungs(folder)))


def test_safety_judges_the_rungs_by_their_probes(folder: Path) -> None:
    found = early_stopping_safety(open_study(folder))
    assert [rung.probed for rung in found.rungs] == [True, True]
    assert "by their probes" in "\n".join(found.lines())
    plain = early_stopping_safety(open_study(folder), epochs=(2,))
    assert [rung.probed for rung in plain.rungs] == [False]


def test_a_plan_counts_the_cool_downs() -> None:
    plain = study_spec({"trials": 12, "epochs": 9, "scheduler": {"kind": "asha", "rungs": [1, 3]}})
    extra = [probed.epochs - bare.epochs for probed, bare in zip(expected(spec_of()), expected(plain), strict=True)]
    second = expected(plain)[1].trials
    assert extra == pytest.approx([12 * 0.25 * 1, second * 0.25 * 3, 0.0])


def test_a_probed_rung_may_lie_before_the_first_drop() -> None:
    assert any("first drop" in warning for warning in rung_warnings(study_spec({"epochs": 27})))
    assert not rung_warnings(study_spec({"epochs": 27, "scheduler": {"probe": {"share": 0.25}}}))


def test_history_has_the_values_that_the_heirs_rungs_compare(folder: Path, tmp_path: Path) -> None:
    reports = {(event.trial, event.epoch): event.metrics for event in at_rungs(folder)}
    for spec, name in ((spec_of(), PROBE_VALUE), (study_spec({"epochs": 9, "name": "plain"}), "val_acc")):
        [found] = inherit(spec, [folder])
        values = {(trial.source_trial, epoch): value for trial in found.trials for epoch, value in trial.values}
        told = {key: value for key, value in values.items() if key in reports}
        assert told
        assert all(value == reports[key][name] for key, value in told.items())
    bare = tmp_path / "bare"
    create_study(study_spec({"trials": 6, "epochs": 9, "name": "bare"}), bare)
    Cluster(study_spec({"trials": 6, "epochs": 9, "name": "bare"}), bare).run()
    [found] = inherit(spec_of(), [bare])
    assert {epoch for trial in found.trials for epoch, _ in trial.values} <= {9}
