"""The search in virtual time: no Ray, but the real log, the real folds, and a worker that trains by arithmetic."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.events import EpochReported, Event, SessionEnded, SessionStarted, TrialSuggested, event_to_record
from analysis.log import LOG_FILE, read_log
from analysis.trials import fold_trials
from tune_gate.schedulers import build_scheduler
from tune_gate.search import Assignment, Search
from tune_gate.spec import StudySpec, study_spec


def metrics_of(settings: Mapping[str, Any], epoch: int) -> dict[str, float]:
    """What training would say: a pure function of the settings (seed included) and the epoch."""
    noise = random.Random(f"{settings['seed']}/{epoch}").random()
    plateau = 0.9 - 0.1 * abs(math.log10(settings["lr"]) + 1)
    return {
        "val_acc": plateau * (1 - math.exp(-epoch / 2)) + 0.02 * noise,
        "diverged": float(settings["lr"] > 0.45),
        "seconds": 1.0,
        "val_images": 100.0,
    }


class Killed(Exception):  # noqa: N818
    """The process that held the search died here."""


@dataclass
class Cluster:
    """Runs a search with some workers that finish their epochs in an order drawn from a seed."""

    spec: StudySpec
    folder: Path
    workers: int = 1
    order: random.Random = field(default_factory=lambda: random.Random(0))
    survive: Callable[[], None] = lambda: None  # raises Killed where the driver is to die

    def run(self, stop_after: int | None = None) -> None:
        """One session, to its end or to the driver's death."""
        search = Search(self.spec, self.folder, clock=lambda: 0.0)
        running: dict[int, tuple[Assignment, int]] = {}
        reports = 0
        try:
            search.begin("host", 1, {})
            while True:
                while len(running) < self.workers and (assignment := search.next_assignment()) is not None:
                    running[assignment.trial] = (assignment, assignment.from_epoch)
                    self.survive()
                if not running:
                    break
                trial = self.order.choice(sorted(running))
                assignment, epoch = running[trial]
                metrics = metrics_of(assignment.settings, epoch + 1)
                action = search.report(trial, assignment.attempt, epoch + 1, metrics)
                self.survive()
                running[trial] = (assignment, epoch + 1)
                if action != "continue":
                    del running[trial]
                reports += 1
                if reports == stop_after:
                    search.request_stop()
            search.end()
        finally:
            search.close()


def essence(events: list[Event]) -> list[dict[str, Any]]:
    """The log without what a restart adds: sessions, attempts and times, and that a trial was to go on later."""
    kept = []
    for event in events:
        if isinstance(event, TrialSuggested | EpochReported):
            record = event_to_record(event)
            record.pop("time")
            record.pop("attempt", None)
            if record.get("action") == "interrupt":
                record["action"] = "continue"
            kept.append(record)
    return kept


@pytest.fixture
def spec() -> StudySpec:
    return study_spec({"trials": 14, "epochs": 9, "sampler": {"startup": 4}})


def test_a_search_runs_exactly_the_trials_asked_for(spec: StudySpec, tmp_path: Path) -> None:
    Cluster(spec, tmp_path, workers=3).run()
    trials = fold_trials(read_log(tmp_path / LOG_FILE))
    assert sorted(trials) == list(range(1, 15))
    assert all(trial.ended for trial in trials.values())
    assert {trial.state for trial in trials.values()} >= {"completed", "stopped"}
    assert trials[1].source == "default"


def test_stopped_trials_have_no_report_after_their_rung(spec: StudySpec, tmp_path: Path) -> None:
    Cluster(spec, tmp_path, workers=3).run()
    for trial in fold_trials(read_log(tmp_path / LOG_FILE)).values():
        if trial.state == "stopped":
            assert trial.epoch in spec.milestones
        if trial.state == "completed":
            assert trial.epoch == spec.epochs


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kills=st.lists(st.integers(1, 40), max_size=6), torn=st.integers(0, 30))
def test_a_search_killed_anywhere_equals_the_uninterrupted_one(
    kills: list[int], torn: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec = study_spec({"trials": 8, "epochs": 9, "sampler": {"startup": 3}})
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    Cluster(spec, whole).run()
    for moment in kills:
        countdown = iter(range(moment))

        def survive(countdown: Any = countdown) -> None:
            if next(countdown, None) is None:
                raise Killed

        try:
            Cluster(spec, broken, survive=survive).run()
        except Killed:
            with (broken / LOG_FILE).open("ab") as log:  # the death tore the next line
                log.write(b'{"event":"epoch","time":1.0,"trial":1,"attem'[:torn])
    Cluster(spec, broken).run()
    assert essence(read_log(broken / LOG_FILE)) == essence(read_log(whole / LOG_FILE))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), kills=st.lists(st.integers(1, 30), max_size=4))
def test_with_several_workers_nothing_is_lost_or_doubled_and_every_decision_is_a_folds(
    seed: int, kills: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec = study_spec({"trials": 9, "epochs": 9, "sampler": {"kind": "random"}})
    folder = tmp_path_factory.mktemp("study")
    order = random.Random(seed)
    for moment in kills:
        countdown = iter(range(moment))

        def survive(countdown: Any = countdown) -> None:
            if next(countdown, None) is None:
                raise Killed

        try:
            Cluster(spec, folder, workers=4, order=order, survive=survive).run()
        except Killed:
            continue
    Cluster(spec, folder, workers=4, order=order).run()
    events = read_log(folder / LOG_FILE)
    reports = [(event.trial, event.epoch) for event in events if isinstance(event, EpochReported)]
    assert len(reports) == len(set(reports))
    trials = fold_trials(events)
    assert len(trials) == 9
    for trial in trials.values():
        assert list(trial.reports) == list(range(1, trial.epoch + 1))
    scheduler = build_scheduler(spec)
    for event in events:
        if isinstance(event, EpochReported):
            decision = scheduler.decide(event.trial, event.epoch, event.metrics)
            assert (decision.action, decision.rung) == (event.action, event.rung)
        scheduler.apply(event)


def test_a_stopped_search_saves_its_trials_and_goes_on_with_them_first(spec: StudySpec, tmp_path: Path) -> None:
    Cluster(spec, tmp_path, workers=2).run(stop_after=7)
    events = read_log(tmp_path / LOG_FILE)
    assert isinstance(events[-1], SessionEnded)
    assert events[-1].reason == "interrupted"
    waiting = [trial.number for trial in fold_trials(events).values() if trial.state == "waiting"]
    assert waiting
    search = Search(spec, tmp_path)
    handed = [search.next_assignment() for _ in waiting]
    search.close()
    assert [(a.trial, a.attempt) for a in handed if a] == [(number, 2) for number in waiting]


def test_a_trial_that_keeps_failing_is_given_up_and_the_search_goes_on(spec: StudySpec, tmp_path: Path) -> None:
    search = Search(spec, tmp_path)
    for attempt in range(1, 4):
        assignment = search.next_assignment()
        assert assignment is not None
        assert (assignment.trial, assignment.attempt) == (1, attempt)
        search.fail(1, attempt, "error", "ValueError: boom", "Traceback …")
    assert search.trials[1].state == "failed"
    assert "boom" in search.trials[1].reason
    following = search.next_assignment()
    search.close()
    assert following is not None
    assert following.trial == 2


def test_progress_between_failures_starts_the_count_anew(spec: StudySpec, tmp_path: Path) -> None:
    search = Search(spec, tmp_path)
    for attempt in range(1, 6):
        assignment = search.next_assignment()
        assert assignment is not None
        if attempt < 5:
            search.report(1, attempt, attempt, metrics_of(assignment.settings, attempt))
        search.fail(1, attempt, "lost", "the node died")
    search.close()
    assert search.trials[1].state == "waiting"


def test_epochs_done_over_are_no_progress(tmp_path: Path) -> None:
    spec = study_spec({"trials": 2, "epochs": 9, "scheduler": {"kind": "full"}})
    search = Search(spec, tmp_path)
    for attempt in range(1, 4):
        assignment = search.next_assignment()
        assert assignment is not None
        for epoch in (1, 2, 3):  # its checkpoints are gone: each attempt begins at the start
            search.report(1, attempt, epoch, metrics_of(assignment.settings, epoch))
        search.fail(1, attempt, "error", "ValueError: boom")
    search.close()
    assert search.trials[1].state == "failed"


def test_a_report_of_an_attempt_that_was_given_up_decides_nothing(spec: StudySpec, tmp_path: Path) -> None:
    search = Search(spec, tmp_path)
    first = search.next_assignment()
    assert first is not None
    search.fail(1, 1, "lost", "the node died")
    second = search.next_assignment()
    assert second is not None
    before = (tmp_path / LOG_FILE).read_bytes()
    assert search.report(1, 1, 1, metrics_of(first.settings, 1)) == "stop"
    assert (tmp_path / LOG_FILE).read_bytes() == before
    search.close()


def test_a_new_session_is_numbered_after_the_last(spec: StudySpec, tmp_path: Path) -> None:
    for _ in range(2):
        Cluster(spec, tmp_path).run(stop_after=1)
    sessions = [e.session for e in read_log(tmp_path / LOG_FILE) if isinstance(e, SessionStarted)]
    assert sessions == [1, 2]


def test_what_the_worker_gets_is_plain_json(spec: StudySpec, tmp_path: Path) -> None:
    search = Search(spec, tmp_path)
    assignment = search.next_assignment()
    search.close()
    assert assignment is not None
    assert json.loads(json.dumps(assignment.settings)) == assignment.settings
