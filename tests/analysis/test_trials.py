from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.events import (
    AttemptFailed,
    AttemptStarted,
    EpochReported,
    TrialFailed,
    TrialSuggested,
)
from analysis.trials import TrialsFold, fold_trials

numbers = st.integers(1, 3)
epochs = st.integers(1, 6)
reports = st.builds(
    EpochReported,
    time=st.just(1.0),
    trial=numbers,
    attempt=numbers,
    epoch=epochs,
    metrics=st.fixed_dictionaries({"val_acc": st.floats(0, 1), "seconds": st.just(1.0)}),
    action=st.sampled_from(["continue", "stop", "complete", "diverge", "interrupt"]),
)
anything = st.one_of(
    reports,
    st.builds(TrialSuggested, st.just(1.0), numbers, st.just({"lr": 0.1}), st.just(0), st.just("random")),
    st.builds(AttemptStarted, st.just(1.0), numbers, numbers, epochs),
    st.builds(AttemptFailed, st.just(1.0), numbers, numbers, st.just("error"), st.just("why")),
    st.builds(TrialFailed, st.just(1.0), numbers, st.just("why")),
)
SUGGESTED = [TrialSuggested(0.0, number, {}, 0, "random") for number in (1, 2, 3)]


@given(st.lists(reports, max_size=30))
def test_a_report_replaces_the_reports_of_its_epoch_and_later(log):
    trials = fold_trials([*SUGGESTED, *log])
    for number, trial in trials.items():
        expected: list[EpochReported] = []
        for report in (report for report in log if report.trial == number):
            expected = [*(each for each in expected if each.epoch < report.epoch), report]
        assert list(trial.reports.values()) == expected
        assert list(trial.reports) == sorted(trial.reports)
        told = [report for report in log if report.trial == number]
        assert trial.redone_seconds == len(told) - len(expected)  # one second each


@given(st.lists(anything, max_size=30), st.data())
def test_folding_a_prefix_and_then_the_rest_is_folding_the_whole(log, data):
    cut = data.draw(st.integers(0, len(log)))
    fold = TrialsFold(log[:cut])
    before = copy.deepcopy(fold.trials)
    assert before == fold_trials(log[:cut])
    for event in log[cut:]:
        fold.apply(event)
    assert fold.trials == fold_trials(log)


@given(st.lists(anything, max_size=30))
def test_a_log_that_arrives_twice_leaves_the_same_trials(log):
    told = [*SUGGESTED, *log]
    assert fold_trials([*told, *told]) == fold_trials(told)


@given(st.lists(reports, min_size=1, max_size=10))
def test_a_report_that_arrives_twice_counts_once(log):
    once, twice = fold_trials([*SUGGESTED, *log]), fold_trials([*SUGGESTED, *log, log[-1]])
    for number in once:
        assert once[number].reports == twice[number].reports
        assert once[number].state == twice[number].state


def test_states(events):
    states = {number: trial.state for number, trial in fold_trials(events).items()}
    assert states == {
        1: "completed",
        2: "stopped",
        3: "diverged",
        4: "failed",
        5: "running",
        6: "completed",
        7: "waiting",
    }
    assert [trial.number for trial in TrialsFold(events).unfinished] == [5, 7]


def test_best_is_the_earliest_of_equals(events):
    trial = fold_trials(events)[2]
    best = trial.best("val_acc")
    assert best is not None
    assert best.epoch == 2
    assert fold_trials(events)[7].best("val_acc") is None


def test_redone_epochs_are_counted_in_seconds(events):
    assert fold_trials(events)[6].redone_seconds == pytest.approx(2 * 36.0)
