"""Why a trial ended: the words and the numbers."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict

import pytest

from analysis import Study, UnknownName, best_table, open_study, rung_entries, why
from analysis.holders import LOCK_FILE, this_process
from tests.analysis.conftest import START, WriteStudy, log_bytes, small_events


def said(study: Study, trial: int) -> str:
    return "\n".join(why(study, trial).lines())


def test_a_stopped_trial(study: Study) -> None:
    explanation = why(study, 2)
    (judgement,) = explanation.judgements
    assert (judgement.rung, judgement.action, judgement.value) == (3, "stop", 0.35)
    assert judgement.peers == ((1, pytest.approx(0.3)),)
    # four values by now: 0.3, 0.35, 0.3 and the floor of the trial that diverged; one of them goes on
    assert (judgement.now.rank, judgement.now.peers, judgement.now.survivors, judgement.now.passes) == (1, 4, 1, True)
    assert judgement.gap_errors == pytest.approx((0.35 - 0.5) / math.sqrt((0.35 * 0.65 + 0.25) / 500))
    text = said(study, 2)
    assert "stopped at epoch 3 of 9, at the rung there" in text
    assert "the best 1 went on, cutoff 0.5000, 0.1500 below it or 4.9 standard errors" in text
    assert "rank 1 of 4; the best 1 go on, cutoff 0.3500: it would go on" in text
    assert "spent: 3 epochs in 1 attempt, 0.03 h of training; held 0.015 GPU-hours" in text


def test_a_diverged_trial(study: Study) -> None:
    assert "diverged at epoch 2 of 9" in said(study, 3)
    assert why(study, 3).judgements == ()


def test_a_failed_trial(study: Study) -> None:
    assert [(failure.attempt, failure.after_epoch) for failure in why(study, 4).failures] == [(1, 1), (2, 1)]
    assert "failed after epoch 1 of 9: 2 attempts failed" in said(study, 4)
    assert "attempt 2 failed after epoch 1: CUDA out of memory" in said(study, 4)


def test_a_lost_trial_that_came_back(study: Study) -> None:
    text = said(study, 6)
    assert "completed, all 9 epochs" in text
    assert "attempt 1 was lost after epoch 5: the node left" in text
    assert "11 epochs (2 of them done over) in 2 attempts" in text


@pytest.fixture
def driven(write_study: WriteStudy) -> Study:
    """The study while this process drives it."""
    folder = write_study(log_bytes(small_events()), "driven")
    (folder / LOCK_FILE).write_text(json.dumps(asdict(this_process())))
    return open_study(folder)


@pytest.mark.parametrize(("trial", "words"), [(5, "running, epoch 2 of 9"), (7, "waiting, epoch 0 of 9")])
def test_a_trial_that_has_not_ended(driven: Study, trial: int, words: str) -> None:
    assert why(driven, trial).lines()[0].endswith(words)


@pytest.mark.parametrize(("trial", "words"), [(5, "epoch 2 of 9: {}; it goes on"), (7, "epoch 0 of 9: {}; it starts")])
def test_of_a_study_that_nobody_drives_no_trial_runs(study: Study, trial: int, words: str) -> None:
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(START + 90))  # the last line of the log
    last = words.format(f"the search was interrupted at {at}")
    assert why(study, trial).lines()[0].endswith(f"waiting, {last} with `tune-gate resume`")


def test_every_reader_says_the_same_of_it(study: Study, driven: Study) -> None:
    for opened, state in ((study, "waiting"), (driven, "running")):
        assert opened.trials.set_index("trial").loc[5, "state"] == state
        assert opened.records[5].state == opened.columns.trials[5].state == state
        assert best_table(opened).set_index("trial").loc[5, "ended"] == state


def test_an_unknown_trial(study: Study) -> None:
    with pytest.raises(UnknownName, match="unknown trial '12'"):
        why(study, 12)


def test_a_trial_judged_twice_counts_once_and_a_diverged_one_at_the_next_rung(study: Study) -> None:
    entries = rung_entries(study)
    assert entries["trial"].tolist() == [1, 2, 3, 6]
    assert entries["action"].tolist() == ["continue", "stop", "diverge", "continue"]
    assert entries["value"].tolist() == [pytest.approx(0.3), 0.35, 0.0, pytest.approx(0.3)]


def test_the_record_is_plain(study: Study) -> None:
    record = why(study, 2).to_record()
    assert record["best"] == [2, 0.4]
    assert record["judgements"][0]["then"] == {"rank": 1, "peers": 3, "survivors": 1, "cutoff": 0.5}
