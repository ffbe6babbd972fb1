"""A confirmation on a real Ray: interrupted, resumed, and with the test split opened once for each of its trials."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import confirmation_table, confirmed_trials, open_study
from analysis.events import EpochReported, MeasuredOnTest
from analysis.log import LOG_FILE, read_log
from tests.tune_gate.test_on_ray import ROOT, spec, wait_until
from tune_gate.api import confirm, launch, resume
from tune_gate.errors import Misuse, StudyExists

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _workers_find_the_trainables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_a_confirmation_that_is_interrupted_opens_the_test_split_once_per_trial(tmp_path: Path) -> None:
    search, folder = tmp_path / "search", tmp_path / "search-confirm"
    launch(spec("Measurable", trials=3), search)
    process = subprocess.Popen(
        [sys.executable, "-m", "tune_gate", "confirm", str(search), "--top", "2", "--seeds", "2"],
        stdout=subprocess.PIPE, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    wait_until(lambda: any(isinstance(event, EpochReported) for event in read_log(folder / LOG_FILE)))
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "nothing is measured yet" in output
    assert not any(isinstance(event, MeasuredOnTest) for event in read_log(folder / LOG_FILE))

    outcome = resume(folder)
    assert outcome.ended == "finished"
    table = confirmation_table(outcome.study)
    trials = outcome.study.trials
    opened = [(folder / "trials" / f"{number:04d}" / "opened").read_text() for number in trials["trial"]]
    assert opened == ["9\n"] * (2 * len(table))
    assert table["seeds"].tolist() == [2] * len(table)
    assert {path.name for path in outcome.written} == {"confirmation.csv", "differences.csv", "runs.csv"}
    assert set(confirmed_trials(open_study(search))) == set(table["search_trial"].dropna())
    with pytest.raises(StudyExists):
        confirm(search, top=2, seeds=2)
    assert resume(folder).ended == "finished"
    assert [file.read_text() for file in sorted((folder / "trials").glob("*/opened"))] == opened


def test_a_trainable_that_cannot_be_measured_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    launch(spec("CurveTrainable", trials=2), tmp_path / "search")
    with pytest.raises(Misuse, match="no `measure"):
        confirm(tmp_path / "search", top=1, seeds=1)
    assert not (tmp_path / "search-confirm").exists()


def test_a_real_confirmation_on_digits_measures_the_last_epoch_s_model(tmp_path: Path) -> None:
    launch({"trials": 2, "epochs": 2, "scheduler": {"kind": "full"}}, tmp_path / "search")
    outcome = confirm(tmp_path / "search", top=1, seeds=2)
    assert outcome.ended == "finished"
    table = confirmation_table(outcome.study)
    assert table["test_acc"].between(0.0, 1.0).all()
    assert {"winner", "control"} <= {role for roles in table["roles"] for role in roles.split(", ")}
