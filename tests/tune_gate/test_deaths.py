"""Trials that take their driver with them are found out; innocent ones are not."""

from __future__ import annotations

from pathlib import Path

from analysis.events import AttemptStarted, EpochReported, Event, SessionEnded, SessionStarted
from tests.tune_gate.virtual_cluster import metrics_of
from tune_gate.deaths import DeathsFold
from tune_gate.search import Search
from tune_gate.spec import study_spec


def folded(*events: Event) -> DeathsFold:
    fold = DeathsFold()
    for event in events:
        fold.apply(event)
    return fold


def session(number: int, *trials: int) -> list[Event]:
    """A session that begins these trials, and dies."""
    return [SessionStarted(0.0, number, "host", 1), *(AttemptStarted(0.0, trial, number, 0) for trial in trials)]


EPOCH = EpochReported(0.0, 2, 1, 1, {"val_acc": 0.5}, "continue")


def test_three_deaths_without_an_epoch_point_to_the_trials_that_were_always_there() -> None:
    fold = folded(*session(1, 1, 2), *session(2, 2, 3), *session(3, 2))
    assert fold.suspects(retries=2) == {2}


def test_two_deaths_are_not_enough() -> None:
    assert folded(*session(1, 1), *session(2, 1)).suspects(retries=2) == set()


def test_an_epoch_between_clears_everybody() -> None:
    assert folded(*session(1, 1, 2), *session(2, 1, 2), EPOCH, *session(3, 1, 2)).suspects(retries=2) == set()


def test_a_session_that_ended_in_good_order_is_no_death() -> None:
    ended = SessionEnded(0.0, 2, "interrupted")
    assert folded(*session(1, 1), *session(2, 1), ended, *session(3, 1)).suspects(retries=2) == set()


def test_a_driver_that_died_before_it_began_a_trial_accuses_nobody() -> None:
    assert folded(*session(1), *session(2), *session(3)).suspects(retries=2) == set()


def test_the_search_gives_such_a_trial_up_and_goes_on(tmp_path: Path) -> None:
    spec = study_spec({"trials": 2, "epochs": 2, "scheduler": {"kind": "full"}})
    for _ in range(3):
        search = Search(spec, tmp_path)
        search.begin("host", 1, {})
        assignment = search.next_assignment()
        assert assignment is not None
        assert assignment.trial == 1
        search.close()  # no word about the end: the process is gone
    search = Search(spec, tmp_path)
    search.begin("host", 1, {})
    assert search.trials[1].state == "failed"
    assert "3 drivers in a row died" in search.trials[1].reason
    while (assignment := search.next_assignment()) is not None:
        for epoch in (1, 2):
            search.report(assignment.trial, assignment.attempt, epoch, metrics_of(assignment.settings, epoch))
    assert search.finished
    search.close()
