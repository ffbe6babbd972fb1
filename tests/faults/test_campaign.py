"""A few kills in every slow test run; the whole campaign is `make faults`. What it counts with is tested quickly."""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.campaign import Campaign, Plan, parse_kills, run
from tests.faults.flavours import FLAVOURS, TRIALS
from tests.faults.processes import MEASURED, JoinedNodes, kind_of, strike
from tests.faults.records import add_case, add_run, add_tally, read_records
from tests.faults.tally import CaseResult, Tally, quantile, report_text
from tune_gate.spec import study_spec


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("flavour", "moment"), [("asha", "epoch"), ("promotion-probes", "probe"), ("auto", "measuring run")]
)
def test_a_few_kills_leave_the_studies_as_they_were(tmp_path: Path, flavour: str, moment: str) -> None:
    campaign = Campaign(seed=1, wanted={"local": 4}, command="pytest")
    run(campaign, tmp_path, lanes=1, report=tmp_path / "REPORT.md", flavours=[flavour])
    assert campaign.clean, report_text(campaign)
    assert campaign.complete
    assert campaign.total.inside[moment]
    assert "| SIGKILLs | 4 | 4 |" in (tmp_path / "REPORT.md").read_text()


def test_the_plan_makes_exactly_the_kills_asked_for(tmp_path: Path) -> None:
    campaign = Campaign(seed=0, wanted={"local": 14, "multi-node": 6}, command="")
    plan = Plan(campaign, tmp_path)
    made: Counter[str] = Counter()
    draws = []
    while (study := plan.next()) is not None:
        study.tally.kills["driver"] = max(1, study.kills - 3)  # it ended too early
        made[study.kind] += study.tally.made
        plan.give_back(study)
        draws.append((study.folder, study.generator.random()))
    assert made == {"local": 14, "multi-node": 6}
    assert len(set(draws)) == len(draws)


def test_studies_take_turns_in_flavour_then_in_workers_then_in_seeds(tmp_path: Path) -> None:
    plan = Plan(Campaign(0, {"local": 200, "multi-node": 40}, ""), tmp_path)
    studies = list(iter(plan.next, None))
    local = [study for study in studies if study.kind == "local"]
    assert {(study.flavour.name, study.concurrency, study.seed) for study in local[:16]} == {
        (name, concurrency, seed) for name in FLAVOURS for concurrency in (1, 2) for seed in (0, 1)
    }
    assert [study.flavour.name for study in studies if study.kind == "multi-node"] == [
        "asha", "promotion-probes", "asha-probes", "asha",
    ]  # fmt: skip
    only = Plan(Campaign(0, {"local": 30}, ""), tmp_path, ["auto"])
    assert {study.flavour.name for study in iter(only.next, None)} == {"auto"}
    for flavour in FLAVOURS.values():
        assert study_spec(flavour.spec(1, 2, 2)).trials == TRIALS


def test_a_study_that_failed_gives_no_kills_back(tmp_path: Path) -> None:
    plan = Plan(Campaign(0, {"local": 3}, ""), tmp_path)
    study = plan.next()
    assert study is not None
    study.tally.failures.append("it hangs")
    plan.give_back(study)
    assert plan.next() is None


def test_anything_lost_doubled_wrong_or_different_shows() -> None:
    for name in ("lost", "doubled", "wrong_decisions", "different", "differences"):
        campaign = Campaign(0, {"local": 1}, "", tallies={"local": Tally(studies=1)})
        assert campaign.clean
        setattr(campaign.tallies["local"], name, 1)
        assert not campaign.clean
    assert not Campaign(0, {}, "", tallies={"local": Tally(failures=["it hangs"])}).clean
    assert not Campaign(0, {}, "", cases=[CaseResult("a", "b", 1.0, error="no")]).clean


def test_a_report_says_what_was_not_done() -> None:
    campaign = Campaign(3, {"local": 2}, "command", tallies={"local": Tally(failures=["it hangs"])})
    campaign.tallies["local"].kills["driver"] = 1
    campaign.cases.append(CaseResult("torn tail", "is cut", 1.0, error="it was not"))
    text = report_text(campaign)
    assert "has not made all its kills" in text
    assert "- it hangs" in text
    assert "| torn tail | is cut | 1 | it was not |" in text
    assert "| … of the driver | 1 | 1 |" in text
    campaign.tallies["local"].kills["driver"] = 2
    assert "has not made all its kills" not in report_text(campaign)


def test_runs_that_share_records_make_one_report(tmp_path: Path) -> None:
    path = tmp_path / "REPORT.jsonl"
    add_run(path, Campaign(3, {"local": 2}, "first", started=1.0))
    add_run(path, Campaign(4, {"multi-node": 5}, "second", started=2.0))
    add_tally(path, "local", Tally(studies=1, kills=Counter(driver=1), inside=Counter(probe=2), redone_seconds=[0.5]))
    add_case(path, CaseResult("torn tail", "is cut", 1.0, error="it was not"))
    add_tally(path, "local", Tally(studies=1, kills=Counter(driver=1), failures=["it hangs"]))
    add_case(path, CaseResult("torn tail", "is cut", 2.0))
    found = read_records(path)
    assert (found.seed, found.started, found.command, found.further) == (3, 1.0, "first", ["second"])
    assert found.wanted == {"local": 2, "multi-node": 5}
    assert found.tallies["local"] == Tally(
        studies=2, kills=Counter(driver=2), inside=Counter(probe=2), redone_seconds=[0.5], failures=["it hangs"]
    )
    assert [(case.name, case.error) for case in found.cases] == [("torn tail", "")]
    assert "Written by 2 runs of the campaign." in report_text(found)
    assert "- `first`\n- `second`\n" in report_text(found)


def test_records_begin_with_a_run(tmp_path: Path) -> None:
    path = tmp_path / "REPORT.jsonl"
    add_case(path, CaseResult("torn tail", "is cut", 1.0))
    with pytest.raises(ValueError, match="does not begin with a run"):
        read_records(path)


def test_tallies_add_up() -> None:
    total = Tally(studies=1, redone_seconds=[0.1])
    total.add(Tally(studies=2, redone_seconds=[0.2], failures=["x"]))
    assert (total.studies, total.redone_seconds, total.failures) == (3, [0.1, 0.2], ["x"])


def test_quantiles() -> None:
    values = [float(number) for number in range(1, 21)]
    assert quantile(values, 0.5) == 10.5
    assert quantile(values, 0.95) == 19.0
    assert quantile(values, 1.0) == 20.0
    assert quantile([], 0.5) != quantile([], 0.5)


@pytest.mark.parametrize(
    ("name", "command", "kind"),
    [
        ("gcs_server", "/x/gcs_server", "GCS"),
        ("raylet", "/x/raylet", "raylet"),
        ("ray::Traced", "ray::Traced.train", "worker"),
        ("ray::IDLE", "ray::IDLE", None),
        ("ray::DashboardA", "ray::DashboardAgent", "agent"),
        ("ray::RuntimeEnv", "ray::RuntimeEnvAgent      ", "agent"),
        ("python", "python -u log_monitor.py", None),
        ("python", "/usr/bin/python -m tune_gate.packing_process", MEASURED),
    ],
)
def test_processes_are_told_apart(name: str, command: str, kind: str | None) -> None:
    assert kind_of(name, command) == kind


def test_a_strike_kills_what_is_there(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as supervisor:  # its study has no driver
        killed = strike(["driver", "supervisor"], tmp_path, supervisor, JoinedNodes(tmp_path, 0), random.Random(0))
    assert killed == ["supervisor"]
    assert supervisor.returncode == -signal.SIGKILL


def test_kinds_of_kills_are_checked() -> None:
    assert parse_kills("multi-node=60") == ("multi-node", 60)
    with pytest.raises(argparse.ArgumentTypeError, match="KIND=NUMBER"):
        parse_kills("moon=3")
