"""`tune-gate train` and `tune-gate evaluate`, as a user calls them."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import pytest
import yaml

from tune_gate import cli

QUICK = ["--data", "digits", "--lr", "0.05", "--threads", "1"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def tune_gate(*arguments: str) -> int:
    """Run the command line in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tune-gate", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return int(ended.value.code or 0)


def table(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_run_leaves_settings_epochs_checkpoints_logs_and_g(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune_gate("train", *QUICK, "--epochs", "2") == 0
    folder = Path("runs/digits-resnet14")
    assert "epoch 2/2" in capsys.readouterr().out
    assert yaml.safe_load((folder / "config.yaml").read_text())["config"]["lr"] == 0.05
    rows = table(folder / "epochs.csv")
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert {path.name for path in (folder / "checkpoints").iterdir()} >= {"best.pt", "epoch-0002.pt"}
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    graded = table(folder / "g.csv")
    assert len(graded) == int(float(rows[0]["val_images"]))
    assert all(0.0 < float(row["g"]) < 1.0 for row in graded)

    assert tune_gate("evaluate", str(folder / "checkpoints/best.pt"), "--json", "-o", "g-test.csv") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["test_acc_low"] <= record["test_acc"] <= record["test_acc_high"]
    assert len(Path("g-test.csv").read_text().splitlines()) == record["images"] + 1


def test_runs_never_overwrite_each_other_and_resume_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune_gate("train", *QUICK, "--epochs", "1", "--dir", "mine") == 0
    assert tune_gate("train", *QUICK, "--epochs", "1", "--dir", "mine") == 2
    assert "--resume" in capsys.readouterr().err
    text = Path("mine/config.yaml").read_text()
    Path("mine/config.yaml").write_text(text.replace("epochs: 1\n", "epochs: 2\n"))
    assert tune_gate("train", "--resume", "--dir", "mine") == 0
    assert "epoch 2/2" in capsys.readouterr().out
    assert len(table(Path("mine/epochs.csv"))) == 2
    assert tune_gate("train", "--resume", "--dir", "mine") == 0
    assert "finished before" in capsys.readouterr().out


def test_a_diverging_run_is_a_failure_that_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert tune_gate("train", "--data", "digits", "--lr", "1e5", "--epochs", "3", "--threads", "1") == 1
    assert "diverged at epoch 1: lower lr" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["train", "--lrr", "0.1"], "did you mean 'lr'?"),
        (["train", "--depth", "15"], "6n+2"),
        (["train", "--lr"], "needs a value"),
        (["train", "stray"], "'stray' is no option"),
        (["train", "--preset", "greyc-2018"], "did you mean 'greyc-20"),
        (["train", "--config", "none.yaml"], "cannot read none.yaml"),
        (["train", "--data", "npz:none.npz"], "none.npz"),
        (["train", "--resume", "--dir", "none"], "holds no run"),
        (["train", "--device", "tpu"], "unknown device 'tpu'"),
        (["evaluate", "none.pt"], "no checkpoint at none.pt"),
    ],
)
def test_misuse_is_one_line_and_leaves_nothing(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune_gate(*arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not Path("runs").exists()
