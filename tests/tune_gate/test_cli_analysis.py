"""`tune-gate why` and `ledger`: what they say agrees with what the driver decided."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import open_study, rung_entries, why
from analysis.rungs import standing
from tests.analysis.studies import write_curves
from tests.tune_gate.test_search import Cluster
from tune_gate import cli
from tune_gate.schedulers import HalvingSettings, SuccessiveHalving, build_scheduler
from tune_gate.spec import study_spec
from tune_gate.study_dir import create_study

SPEC = {"trials": 14, "epochs": 9, "scheduler": {"kind": "asha"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies") / "night"
    spec = study_spec({**SPEC, "name": "night", "sampler": {"kind": "random"}})
    create_study(spec, folder)
    Cluster(spec, folder, workers=3).run()
    return folder


def test_rung_entries_are_those_of_the_scheduler(folder: Path) -> None:
    study = open_study(folder)
    scheduler = build_scheduler(study_spec(SPEC))
    for event in study.events:
        scheduler.apply(event)
    entries = rung_entries(study)
    assert [(count.milestone, count.reached) for count in scheduler.counts()] == [
        (rung, (entries["rung"] == rung).sum()) for rung in (1, 3)
    ]


def test_the_peers_named_are_those_counted(folder: Path) -> None:
    study = open_study(folder)
    judgements = [judgement for trial in study.columns.trials for judgement in why(study, trial).judgements]
    assert {judgement.action for judgement in judgements} >= {"stop", "continue"}
    for judgement in judgements:
        assert judgement.then.peers == len(judgement.peers) + 1
        assert judgement.then.rank == 1 + sum(value > judgement.value for _, value in judgement.peers)
        assert judgement.then.passes == (judgement.action != "stop")


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), st.integers(2, 4))
def test_a_standing_is_the_schedulers(values: list[int], reduction_factor: int) -> None:
    scheduler = SuccessiveHalving(HalvingSettings("val_acc", "val_acc", 9, (3,), reduction_factor))
    rung = scheduler._rungs[3]
    for trial, value in enumerate(values[:-1]):
        rung.add(trial, "continue", rung.standing(float(value)))
    then, now = rung.standing(float(values[-1])), standing(values, values[-1], reduction_factor)
    assert (now.rank, now.peers, now.survivors, now.cutoff) == (then.rank, then.peers, then.survivors, then.cutoff)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["tune-gate", *map(str, arguments)])
    with pytest.raises(SystemExit) as raised:
        cli.main()
    assert isinstance(raised.value.code, int)
    return raised.value.code


def test_every_trial_is_explained(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for row in open_study(folder).trials.itertuples():
        assert run(monkeypatch, "why", folder, row.trial) == 0
        said = capsys.readouterr().out
        assert said.startswith(f"trial {row.trial} of night: {row.state}")
        assert "rung 1" in said
        assert "spent:" in said


def test_as_json(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "why", folder, 1, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["judgements"][0]["then"].keys() == {"rank", "peers", "survivors", "cutoff"}


def test_an_unknown_trial_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "why", folder, 99) == 2
    assert "unknown trial '99'" in capsys.readouterr().err


def test_the_ledger_adds_up(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "ledger", folder, "--json") == 0
    record = json.loads(capsys.readouterr().out)
    assert sum(record["totals"].values()) == pytest.approx(record["allocated"])
    assert len(record["trials"]) == 14
    assert run(monkeypatch, "ledger", folder, "--trials") == 0
    assert "CPU-hours allocated" in capsys.readouterr().out


def test_safety(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "safety", folder) == 0
    said = capsys.readouterr().out
    assert "rung 1:" in said
    assert "advice:" in said
    assert run(monkeypatch, "safety", folder, "--json", "--epoch", 2, "--epoch", 4, "--smooth", 2) == 0
    record = json.loads(capsys.readouterr().out)
    assert [rung["epoch"] for rung in record["rungs"]] == [2, 4]
    assert run(monkeypatch, "safety", folder, "--winners", 0) == 2
    assert run(monkeypatch, "safety", folder, "--where", "source=random") == 0
    assert run(monkeypatch, "safety", folder, "--where", "colour=red") == 2


def test_figures(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "figures", folder, "--only", "history", "--only", "contour", "-o", tmp_path) == 0
    assert f"wrote {tmp_path / 'history.pdf'}" in capsys.readouterr().out
    assert (tmp_path / "history.pdf").read_bytes().startswith(b"%PDF")
    assert run(monkeypatch, "figures", folder, "--format", "gif") == 2
    only = ("--only", "history", "-o", tmp_path / "part")
    assert run(monkeypatch, "figures", folder, "--where", "source=random", *only) == 0
    assert run(monkeypatch, "figures", folder, "--where", "source=nobody", *only) == 2


def test_report(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.html"
    assert run(monkeypatch, "report", folder, "-o", path) == 0
    assert f"wrote {path}" in capsys.readouterr().out
    assert "<title>night" in path.read_text()
    assert run(monkeypatch, "report", folder, "--only", "nothing") == 2
    assert run(monkeypatch, "report", folder, "-o", path, "--where", "source=random", "--where", "state=*") == 0
    assert "Only the trials with source=random, state=*, which are" in path.read_text()


def test_compare(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "compare", folder, folder) == 0
    said = capsys.readouterr().out
    assert "night (2)" in said
    assert "the same settings" in said
    assert run(monkeypatch, "compare", folder, folder, "--json", "--target", 0.01) == 0
    record = json.loads(capsys.readouterr().out)
    assert [row["trials_to_target"] for row in record["studies"]] == [1, 1]
    assert run(monkeypatch, "compare", folder) == 2


def test_pareto(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_curves(tmp_path / "small", [[0.7], [0.8]], more=[{"macs": 1e6}, {"macs": 2e6}])
    assert run(monkeypatch, "pareto", study.path) == 0
    assert capsys.readouterr().out.count("M multiply-accumulates") == 2
    assert run(monkeypatch, "pareto", study.path, "--json") == 0
    assert [row["on_front"] for row in json.loads(capsys.readouterr().out)] == [True, True]
    assert run(monkeypatch, "pareto", study.path, "--json", "--where", "state=failed") == 2
    assert run(monkeypatch, "pareto", study.path, "--json", "--where", "state=completed") == 0
    assert run(monkeypatch, "pareto", folder) == 2
    assert "recorded the compute" in capsys.readouterr().err
