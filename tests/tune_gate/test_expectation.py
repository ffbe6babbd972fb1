"""What a search is expected to train, before it begins and on its way."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from analysis.events import EpochReported
from analysis.log import LOG_FILE, read_log
from analysis.trials import TrialsFold
from tests.tune_gate.test_progress import BEGUN, run
from tests.tune_gate.test_schedulers import search
from tests.tune_gate.virtual_cluster import Cluster
from tune_gate.budget import current_budget
from tune_gate.expectation import Stretch, epochs_left, stretches
from tune_gate.schedulers import build_scheduler
from tune_gate.spec import StudySpec, study_spec

KINDS = ("asha", "promotion", "full")


def expected(spec: StudySpec) -> list[Stretch]:
    return stretches(spec.scheduler, current_budget(spec, ()))


def test_without_rungs_every_trial_trains_every_epoch() -> None:
    spec = study_spec({"trials": 5, "epochs": 9, "scheduler": {"kind": "full"}})
    assert [(stretch.trials, stretch.epochs) for stretch in expected(spec)] == [(5.0, 45.0)]


@pytest.mark.parametrize("kind", ["asha", "promotion"])
def test_as_many_trials_pass_each_rung_as_a_search_lets_pass(kind: str) -> None:
    spec = study_spec({"trials": 60, "epochs": 9, "scheduler": {"kind": kind}})
    reached: Counter[int] = Counter()
    for seed in range(20):
        generator = random.Random(seed)
        curves = [[generator.random()] * spec.epochs for _ in range(spec.trials)]
        log = search(build_scheduler(spec), curves, generator)
        reached.update(event.epoch for event in log if isinstance(event, EpochReported))
    found = [reached[stretch.to_epoch] / 20 for stretch in expected(spec)]
    assert [stretch.trials for stretch in expected(spec)] == pytest.approx(found, rel=0.2)


def test_a_search_by_promotion_trains_one_trial_to_the_end_however_few_there_are() -> None:
    spec = study_spec({"trials": 2, "epochs": 9, "scheduler": {"kind": "promotion"}})
    assert [stretch.trials for stretch in expected(spec)] == [2.0, 1.0, 1.0]


@pytest.mark.parametrize("kind", KINDS)
def test_before_the_first_trial_everything_expected_is_left(kind: str) -> None:
    spec = study_spec({"trials": 60, "epochs": 27, "scheduler": {"kind": kind}})
    whole = sum(stretch.epochs for stretch in expected(spec))
    assert epochs_left(expected(spec), [], spec.trials) == pytest.approx(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_and_what_was_trained_is_the_whole_all_along(kind: str, tmp_path: Path) -> None:
    """In the mean over searches, at each third of them; and nothing is left at the end."""
    sums = [0.0, 0.0, 0.0]
    total = 0
    for seed in range(12):
        spec = study_spec({"trials": 30, "epochs": 9, "seed": seed, "scheduler": {"kind": kind}})
        Cluster(spec, tmp_path / str(seed), workers=3, order=random.Random(seed)).run()
        log = read_log(tmp_path / str(seed) / LOG_FILE)
        fold, plan = TrialsFold(), expected(spec)
        for place, event in enumerate(log):
            fold.apply(event)
            trials = fold.trials.values()
            left = epochs_left(plan, trials, spec.trials)
            assert left >= 0.0
            for third, at in enumerate((len(log) // 3, 2 * len(log) // 3, len(log) - 1)):
                if place == at:
                    sums[third] += left + sum(trial.epoch for trial in trials)
        assert left == 0.0
        total += sum(trial.epoch for trial in trials)
    assert [part / total for part in sums] == pytest.approx([1.0, 1.0, 1.0], rel=0.2)


def test_those_that_have_ended_are_expected_no_more() -> None:
    """Eight of nine trials diverge at once: the rungs above will not see as many as was planned."""
    spec = study_spec({"trials": 9, "epochs": 9, "scheduler": {"kind": "asha"}})
    fold = TrialsFold()
    for event in [BEGUN, *(event for trial in range(1, 9) for event in run(trial, [0.1], "diverge")), *run(9, [0.5])]:
        fold.apply(event)
    plan = expected(spec)
    assert plan[1].trials > 1
    assert epochs_left(plan, fold.trials.values(), spec.trials) == 2 + 6 * min(1.0, plan[2].trials)
