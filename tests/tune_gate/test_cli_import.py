from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.analysis.foreign_sources import write_csv
from tune_gate.cli import main


@dataclass(frozen=True)
class Ended:
    returncode: int
    stdout: str
    stderr: str


TuneGate = Callable[..., Ended]


@pytest.fixture
def tune_gate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> TuneGate:
    """Runs the command line in this process: a new one would spend its time on imports."""

    def run(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["tune-gate", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


def test_import_and_what_follows(tune_gate: TuneGate, tmp_path: Path) -> None:
    study = tmp_path / "study"
    done = tune_gate("import", "csv", write_csv(tmp_path / "source"), "--dir", study, "--val-images", "500")
    assert done.returncode == 0, done.stderr
    assert "imported 3 trials with 5 epochs" in done.stdout
    assert "70.0 [65.8, 73.9]" in tune_gate("export", study, "--format", "markdown").stdout
    refused = tune_gate("resume", study)
    assert refused.returncode == 2
    assert "was imported" in refused.stderr
    assert tune_gate("ls", tmp_path).stdout.splitlines()[1].split()[1:] == ["imported", "3", "0.7000", "0.05", "CPU"]


def test_misuse_is_one_line(tune_gate: TuneGate, tmp_path: Path) -> None:
    wrong = tune_gate("import", "csvs", "x", "--dir", tmp_path / "study")
    assert wrong.returncode == 2
    assert wrong.stderr == "tune-gate: unknown importer 'csvs'; did you mean 'csv'?\n"


def test_effects_and_noise_of_an_imported_study(tune_gate: TuneGate, tmp_path: Path) -> None:
    study = tmp_path / "study"
    assert tune_gate("import", "csv", write_csv(tmp_path / "source"), "--dir", study).returncode == 0
    told = tune_gate("effects", study)
    assert (told.returncode, told.stdout.splitlines()[0]) == (
        0,
        "val_acc, at the best epoch (%): 1 trials, 1 configurations",
    )
    assert "importances want at least 8" in told.stdout
    record = json.loads(tune_gate("noise", study, "--json").stdout)
    assert (record["best"], record["replicate_sd"]) == (0.7, None)
    assert tune_gate("effects", study, "--metric", "val_ac").returncode == 2


def test_groups_and_optuna_are_exported(tune_gate: TuneGate, tmp_path: Path) -> None:
    study = tmp_path / "study"
    assert tune_gate("import", "csv", write_csv(tmp_path / "source"), "--dir", study).returncode == 0
    grouped = tune_gate("export", study, "--by", "gate", "--late", "2").stdout.splitlines()
    assert [line.split(",")[0] for line in grouped] == ["rank", "1", "1"]
    assert tune_gate("export", study, "--format", "optuna").returncode == 2
    assert tune_gate("export", study, "--format", "optuna", "-o", tmp_path / "journal.log").returncode == 0
    again = tune_gate("import", "optuna", tmp_path / "journal.log", "--dir", tmp_path / "again")
    assert "imported 3 trials" in again.stdout
