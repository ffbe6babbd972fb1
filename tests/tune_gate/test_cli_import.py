from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.analysis.foreign_sources import write_csv


def tune_gate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tune_gate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_import_and_what_follows(tmp_path: Path) -> None:
    study = tmp_path / "study"
    done = tune_gate("import", "csv", write_csv(tmp_path / "source"), "--dir", study, "--val-images", "500")
    assert done.returncode == 0, done.stderr
    assert "imported 3 trials with 5 epochs" in done.stdout
    assert "70.0 [65.8, 73.9]" in tune_gate("export", study, "--format", "markdown").stdout
    refused = tune_gate("resume", study)
    assert refused.returncode == 2
    assert "was imported" in refused.stderr
    assert tune_gate("ls", tmp_path).stdout.splitlines()[1].split()[1:] == ["imported", "3", "0.7000", "0.05", "CPU"]


def test_misuse_is_one_line(tmp_path: Path) -> None:
    wrong = tune_gate("import", "cvs", "x", "--dir", tmp_path / "study")
    assert wrong.returncode == 2
    assert wrong.stderr == "tune-gate: unknown importer 'cvs'; did you mean 'csv'?\n"


def test_effects_and_noise_of_an_imported_study(tmp_path: Path) -> None:
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
