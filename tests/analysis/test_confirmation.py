from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from analysis import AnalysisError, chart, export_table, figure, open_study, paper_figure, report_html
from analysis.confirmation import (
    CONFIRMATION_COLUMNS,
    DIFFERENCE_COLUMNS,
    confirmation_lines,
    confirmation_runs,
    confirmation_table,
    confirmed_differences,
    optimism,
)
from analysis.confirmed import LINKS_FILE, confirmed_trials, link_confirmation
from analysis.events import Event, MeasuredOnTest, SessionEnded, SessionStarted, TrialSuggested
from tests.analysis.conftest import START, STUDY, log_bytes, reported, started

ARMS = [
    {"name": "trial 1", "roles": ["winner"], "trial": 1, "promised": 0.97,
     "settings": {"lr": 0.1, "gate": "entropy", "kappa": 2.0}},
    {"name": "trial 2", "roles": ["runner-up", "default"], "trial": 2, "promised": 0.96,
     "settings": {"lr": 0.2, "gate": "entropy", "kappa": 3.0}},
    {"name": "control", "roles": ["control"], "trial": None, "promised": None, "settings": {"lr": 0.1, "gate": "none"}},
]  # fmt: skip

#: Test accuracies: by seed, of the three configurations; None diverged.
TEST = [(0.95, 0.93, 0.90), (0.93, 0.92, None), (0.94, 0.94, 0.88)]


def confirming_study() -> dict[str, object]:
    study = copy.deepcopy(STUDY)
    study["spec"] |= {
        "trials": 9,
        "epochs": 3,
        "scheduler": {"kind": "full"},
        "sampler": {"kind": "given"},
        "confirm": {"source": "search", "source_name": "small_study", "seeds": 3, "arms": ARMS},
    }
    return study


def confirming_events() -> list[Event]:
    events: list[Event] = [SessionStarted(START, 1, "host", 1)]
    tests: list[Event] = []
    for replicate, accuracies in enumerate(TEST):
        for place, test in enumerate(accuracies):
            trial = 3 * replicate + place + 1
            arm = ARMS[place]
            events += [TrialSuggested(START, trial, arm["settings"], 7 + replicate, arm["name"]), started(trial)]
            if test is None:
                events.append(reported(trial, 1, 0.0, "diverge"))
                continue
            events += [reported(trial, 1, 0.5), reported(trial, 2, test + 0.02)]
            events.append(reported(trial, 3, test + 0.01, "complete"))
            metrics = {"test_acc": test, "test_loss": 1.0 - test, "test_images": 1000.0}
            tests.append(MeasuredOnTest(START, trial, 3, metrics))
    return [*events, *tests, SessionEnded(START, 1, "finished")]


@pytest.fixture
def confirmation(write_study):
    return open_study(write_study(log_bytes(confirming_events()), "confirm", confirming_study()))


def test_one_row_per_configuration_in_the_search_s_order(confirmation):
    table = confirmation_table(confirmation)
    assert table["configuration"].tolist() == ["trial 1", "trial 2", "control"]
    assert set(table.columns) == {*CONFIRMATION_COLUMNS, "lr", "gate", "kappa"}
    assert table["seeds"].tolist() == [3, 3, 2]
    assert table["lost"].tolist() == [0, 0, 1]
    assert table["test_acc"].tolist() == pytest.approx([0.94, 0.93, 0.89])
    # t of 2 degrees of freedom: 4.302653; deviation 0.01 of three
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert table["test_acc_low"][0] == pytest.approx(0.94 - half, abs=1e-6)
    assert table["test_acc_high"][0] == pytest.approx(0.94 + half, abs=1e-6)
    assert table["test_acc_sd"].tolist() == pytest.approx([0.01, 0.01, math.sqrt(2) * 0.01])
    assert table["fresh_val_acc"].tolist() == pytest.approx([0.95, 0.94, 0.90])
    assert table["optimism"].tolist()[:2] == pytest.approx([0.03, 0.03])
    assert math.isnan(table["optimism"][2])
    assert table["search_trial"].isna().tolist() == [False, False, True]
    for fmt in ("csv", "json", "yaml", "markdown", "latex", "parquet"):
        assert export_table(table, fmt)


def test_runs_carry_their_replicate(confirmation):
    runs = confirmation_runs(confirmation)
    assert runs["replicate"].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert runs.groupby("replicate")["seed"].nunique().tolist() == [1, 1, 1]
    assert runs["test_acc"].isna().sum() == 1


def test_the_winner_is_compared_seed_by_seed(confirmation):
    table = confirmed_differences(confirmation)
    assert table.columns.tolist() == [*DIFFERENCE_COLUMNS]
    table = table.set_index("against")
    assert table.loc["trial 2", "pairs"] == 3
    assert table.loc["trial 2", "difference"] == pytest.approx(0.01)
    # of the 8 flips of (0.02, 0.01, 0.00), 4 have a sum as far from 0 as 0.03
    assert table.loc["trial 2", "p_value"] == 0.5
    assert table.loc["trial 2", "p_least"] == 0.25
    assert table.loc["control", "pairs"] == 2
    assert table.loc["control", "difference"] == pytest.approx((0.05 + 0.06) / 2)
    assert table.loc["control", "p_value"] == 0.5


def test_the_parts_of_optimism_add_up(confirmation):
    found = optimism(confirmation)
    assert found.total == pytest.approx(0.03)
    assert found.luck == pytest.approx(0.97 - 0.96)
    assert found.best_epoch == pytest.approx(0.01)
    assert found.validation == pytest.approx(0.01)
    assert found.total == pytest.approx(found.luck + found.best_epoch + found.validation)
    assert optimism(confirmation, "control") is None
    with pytest.raises(AnalysisError, match="no configuration"):
        optimism(confirmation, "trial 9")


def test_the_sentences(confirmation):
    text = "\n".join(confirmation_lines(confirmation))
    assert "8 trials of 3 configurations, each measured once on the 1,000 test images" in text
    assert "not in any mean: 1 of control diverged" in text
    assert "winner, trial 1: 94.00 % on test [91.52, 96.48], 3 seeds" in text
    assert "promised 97.00 %: +3.00 points of optimism" in text
    assert "against runner-up, default (trial 2): +1.00 points [-1.48, +3.48], p = 0.5 (3 pairs" in text


def test_equal_differences_have_no_interval(write_study):
    """Two seeds on few test images can well differ by the same image or two."""
    same = [replace(event, metrics={**event.metrics, "test_acc": 0.9 + 0.02 * (event.trial % 3 == 1)})
            if isinstance(event, MeasuredOnTest) else event for event in confirming_events()]  # fmt: skip
    lines = confirmation_lines(open_study(write_study(log_bytes(same), study=confirming_study())))
    assert any("+2.00 points in each of 3 pairs, so that nothing can be said about its error" in line for line in lines)
    assert not any("[+2.00, +2.00]" in line for line in lines)


def test_before_the_test_split_is_opened(write_study):
    events = [event for event in confirming_events() if not isinstance(event, MeasuredOnTest)]
    study = open_study(write_study(log_bytes(events), "confirm", confirming_study()))
    assert confirmation_lines(study)[0].startswith("nothing is measured yet")
    assert confirmation_table(study)["test_acc"].isna().all()
    assert confirmed_differences(study)["p_value"].isna().all()
    assert optimism(study) is None


def test_a_search_is_no_confirmation(study):
    with pytest.raises(AnalysisError, match="tune-gate confirm"):
        confirmation_table(study)


def test_a_search_finds_its_confirmations(study, confirmation):
    assert confirmed_trials(study) == {}
    link_confirmation(study.path, confirmation.path)
    link_confirmation(study.path, confirmation.path)
    assert json.loads((study.path / LINKS_FILE).read_text()) == {"confirmations": ["../confirm"]}
    found = confirmed_trials(study)
    assert sorted(found) == [1, 2]
    assert found[1].test_acc == pytest.approx(0.94)
    assert found[1].seeds == 3
    assert confirmed_trials(study, confirmation.path) == found
    confirmation.path.rename(confirmation.path.with_name("elsewhere"))
    assert confirmed_trials(study) == {}


def test_the_report_of_a_search_tells_its_confirmation(study, confirmation):
    assert "no configuration was confirmed: `tune-gate confirm" in report_html(study, ["confirmation"])
    link_confirmation(study.path, confirmation.path)
    for each in (study, confirmation):
        page = report_html(each, ["confirmation"])
        assert 'id="figure-confirmation"' in page
        assert "Winner, trial 1: 94.00 % on test [91.52, 96.48], 3 seeds." in page
        assert "Not in any mean: 1 of control diverged." in page
    seeds, mean, promised = chart(study, "confirmation").panels[0].marks
    assert len(seeds.y) == 8
    assert mean.y.tolist() == pytest.approx([94.0, 93.0, 89.0])
    assert promised.y.tolist()[:2] == [97.0, 96.0]
    assert len(figure(study, "confirmation").data) == 3
    assert paper_figure(study, "confirmation").axes


def test_an_interval_of_an_accuracy_ends_at_one(write_study):
    study = confirming_study()
    events = [event for event in confirming_events() if getattr(event, "trial", 1) <= 6]
    table = confirmation_table(open_study(write_study(log_bytes(events), "confirm", study)))
    assert table["test_acc_high"][0] == 1.0
    assert table["test_acc_low"][0] > 0.8


def test_a_confirmation_of_another_search_is_refused(write_study, confirmation, events):
    other = [event for event in events if getattr(event, "trial", None) != 1]
    search = open_study(write_study(log_bytes(other), "other"))
    with pytest.raises(AnalysisError, match="another search"):
        confirmed_trials(search, confirmation.path)


def test_damaged_links(study):
    Path(study.path, LINKS_FILE).write_text("[")
    with pytest.raises(AnalysisError, match="is damaged"):
        confirmed_trials(study)
