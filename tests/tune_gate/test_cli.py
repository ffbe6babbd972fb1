"""The command line: what it prints, what it refuses in one line, and what it does not import."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
import yaml

from analysis.log import LOG_FILE
from tests.tune_gate.virtual_cluster import Cluster
from tune_gate import cli
from tune_gate.lock import hold
from tune_gate.spec import study_spec
from tune_gate.study_dir import STOP_REQUEST, create_study

TRIALS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study that no test changes."""
    folder = tmp_path_factory.mktemp("studies") / "night"
    spec = study_spec({"name": "night", "trials": TRIALS, "epochs": 9, "sampler": {"kind": "random"}})
    create_study(spec, folder)
    Cluster(spec, folder).run()
    return folder


class Result:
    """What a command said, and its exit code."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


class Shell:
    """Runs commands in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: object) -> Result:
        self._monkeypatch.setattr(sys, "argv", ["tune-gate", *map(str, arguments)])
        with pytest.raises(SystemExit) as raised:
            cli.main()
        said = self._capsys.readouterr()
        code = raised.value.code
        assert isinstance(code, int)
        return Result(code, said.out, said.err)

    def refused(self, *arguments: object) -> str:
        """The one line with which a command refuses to do what it was asked."""
        result = self(*arguments)
        assert result.code == 2
        assert result.out == ""
        assert result.err.startswith("tune-gate: ")
        assert result.err.endswith("\n")
        assert result.err.count("\n") == 1
        return result.err.removeprefix("tune-gate: ").rstrip("\n")


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


# --- what is light stays light


@pytest.mark.parametrize("command", ["--help", "export", "ls", "status", "spaces"])
def test_small_commands_import_neither_torch_nor_ray(command: str, folder: Path) -> None:
    arguments = {"--help": [], "ls": [str(folder.parent)], "spaces": ["gate-core"]}.get(command, [str(folder)])
    code = (
        "import sys\nfrom tune_gate.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print(sorted({'torch', 'ray', 'torchvision', 'optuna'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert len(done.stdout.splitlines()) > 2


def test_the_package_imports_nothing() -> None:
    code = "import sys; before = set(sys.modules); import tune_gate; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=180)
    assert "pandas" not in done.stdout
    assert "pydantic" not in done.stdout


# --- help and misuse


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_names_every_command(shell: Shell, arguments: list[str]) -> None:
    result = shell(*arguments)
    assert result.code == 0
    for command in ("launch", "resume", "extend", "stop", "plan", "status", "ls", "spaces", "export"):
        assert f"\n  {command} " in result.out


@pytest.mark.parametrize("command", ["launch", "resume", "extend", "stop", "plan", "status", "ls", "spaces", "export"])
def test_every_command_explains_itself(shell: Shell, command: str) -> None:
    result = shell(command, "--help")
    assert result.code == 0
    assert result.out.startswith(f"Usage: tune-gate {command} ")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["lunch"], "No such command 'lunch'."),
        (["status"], "Missing argument 'DIR'."),
        (["status", "x", "--jsno"], "No such option: --jsno"),
        (["export", "x", "--top", "0"], "Invalid value for '--top'"),
        (["export", "x", "--top", "many"], "Invalid value for '--top'"),
        (["launch", "a", "b"], "Got unexpected extra argument"),
        (["spaces", "gate-cor"], "unknown search space 'gate-cor'; did you mean 'gate-core'?"),
        (["launch", "absent.yaml"], "cannot read absent.yaml: No such file or directory"),
        (["plan", "absent.yaml"], "cannot read absent.yaml: No such file or directory"),
        (["launch", "--set", "trials"], "--set 'trials' is not of the form KEY=VALUE"),
        (["launch", "--set", "trails=3"], "the demo study: unknown key 'trails'; did you mean 'trials'?"),
        (["plan", "--set", "trails=3"], "unknown key 'trails'; did you mean 'trials'?"),
        (["extend", "x", "--trials", "0"], "Invalid value for '--trials'"),
    ],
)
def test_misuse_is_answered_in_one_line(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shell.refused(*arguments).startswith(expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["status", "export", "resume", "stop", "extend"])
def test_a_missing_study_is_answered_in_one_line(shell: Shell, tmp_path: Path, command: str) -> None:
    more = ["--trials", "3"] if command == "extend" else []
    absent = tmp_path / "absent"
    assert shell.refused(command, absent, *more) == f"no study at {absent}: it is no folder"
    assert shell.refused(command, tmp_path, *more) == f"no study at {tmp_path}: it holds no study.json"
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_log_is_answered_in_one_line(shell: Shell, tmp_path: Path) -> None:
    create_study(study_spec({}), tmp_path)
    (tmp_path / LOG_FILE).parent.mkdir()
    (tmp_path / LOG_FILE).write_text("no log\n")
    for command in ("status", "export"):
        assert "is damaged at byte 0" in shell.refused(command, tmp_path)


def test_debug_shows_where(shell: Shell, tmp_path: Path) -> None:
    for place in (0, 1, 2):
        arguments: list[Any] = ["status", tmp_path]
        arguments.insert(place, "--debug")
        result = shell(*arguments)
        assert result.code == 2
        assert result.err.startswith("Traceback (most recent call last):")
        assert result.err.splitlines()[-1].startswith("tune-gate: no study at")


def test_an_error_of_our_own_says_so(shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def boom(*_: object) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("tune_gate.progress.ProgressReader.read", boom)
    result = shell("status", folder)
    assert result.code == 1
    assert result.err == (
        "tune-gate: ZeroDivisionError: division by zero (an error of tune-gate itself; --debug shows where)\n"
    )


def test_an_interruption_is_no_error(shell: Shell, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for interruption in (KeyboardInterrupt, typer.Abort):

        def interrupted(*_: object, kind: type[BaseException] = interruption) -> None:
            raise kind

        monkeypatch.setattr("tune_gate.progress.ProgressReader.read", interrupted)
        result = shell("status", folder)
        assert result.code == 130
        assert "error" not in result.err


# --- launch


@pytest.mark.parametrize(
    "text",
    [
        "trials: 0",
        "space: nowhere",
        "trials: [",
        "config: {data: 'npz:absent.npz', lr: -1}",
        "space: {lr: {float: [0]}}",
    ],
)
def test_a_bad_study_leaves_nothing_behind(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(text)
    shell.refused("launch", "study.yaml")
    shell.refused("launch", "study.yaml", "--dir", "here")
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


def test_a_launch_writes_nothing_over(shell: Shell, folder: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert "already holds a study; `tune-gate resume" in shell.refused("launch", "--dir", folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    (tmp_path / "chapter.tex").write_text("years of work")
    assert "is not an empty folder" in shell.refused("launch", "--dir", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["chapter.tex"]


def test_a_launch_warns_of_rungs_that_come_too_early(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tune_gate.api.supervise", lambda *_: None)
    early = ["--set", "epochs=27", "--set", "scheduler.rungs=[3]", "--set", "config.warmup_epochs=3"]
    out = shell("launch", "--dir", tmp_path / "study", *early).out
    assert "warning: rung 3 lies inside the warm-up of 3 epochs" in out


# --- status and ls


def test_status_shows_where_a_search_stands(shell: Shell, folder: Path) -> None:
    result = shell("status", folder)
    assert result.code == 0
    assert result.out.startswith(f"night  finished  {TRIALS}/{TRIALS} trials ended (")
    assert "% [" in result.out
    assert "CPU-hours" in result.out
    assert "epoch 3" in result.out


def test_status_as_json(shell: Shell, folder: Path) -> None:
    record = json.loads(shell("status", folder, "--json").out)
    assert record["name"] == "night"
    assert record["session"] == "finished"
    assert record["trials"]["wanted"] == record["trials"]["ended"] == TRIALS
    assert [rung["epoch"] for rung in record["rungs"]] == [1, 3]
    assert record["rungs"][0]["reached"] == TRIALS


def test_watching_an_ended_search_ends(shell: Shell, folder: Path) -> None:
    result = shell("status", folder, "--watch")
    assert result.code == 0
    assert "night  finished" in result.out


def test_status_of_a_study_that_has_not_begun(shell: Shell, tmp_path: Path) -> None:
    create_study(study_spec({"name": "new"}), tmp_path)
    assert shell("status", tmp_path).out.startswith("new  not started  0/16 trials ended (none yet)")


def test_ls_has_a_line_for_each_study_and_the_reason_for_one_that_cannot_be_read(
    shell: Shell, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "night").symlink_to(folder)
    create_study(study_spec({}), tmp_path / "group" / "new")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "study.json").write_text("{")
    result = shell("ls", tmp_path)
    assert result.code == 0
    heading, *lines = result.out.splitlines()
    assert heading.split() == ["study", "state", "trials", "best", "hours"]
    text = " ".join(result.out.split())
    assert "finished 6/6 0." in text
    assert "not started 0/16" in text
    assert "is damaged" in text
    assert len(lines) >= 3


def test_ls_of_nothing_is_misuse(shell: Shell, tmp_path: Path) -> None:
    assert shell.refused("ls", tmp_path) == f"no studies below {tmp_path}"


# --- spaces


def test_spaces_are_listed_and_shown_as_a_study_writes_them(shell: Shell) -> None:
    listed = shell("spaces")
    assert listed.code == 0
    for name in ("gate-core", "gate-wide", "greyc-grid"):
        assert name in listed.out
        shown = yaml.safe_load(shell("spaces", name).out)
        assert study_spec(shown).search_space.parameters == study_spec({"space": name}).search_space.parameters


# --- stop


def test_stop_asks_the_driver_that_runs(shell: Shell, tmp_path: Path) -> None:
    create_study(study_spec({}), tmp_path)
    assert shell.refused("stop", tmp_path) == f"no search is running in {tmp_path}"
    assert not (tmp_path / STOP_REQUEST).exists()
    with hold(tmp_path) as holder:
        result = shell("stop", tmp_path)
    assert result.code == 0
    assert result.out == f"asked {holder} to stop; its running epochs finish first\n"
    assert (tmp_path / STOP_REQUEST).exists()


def test_a_running_study_cannot_be_run_twice(shell: Shell, tmp_path: Path) -> None:
    create_study(study_spec({}), tmp_path)
    with hold(tmp_path) as holder:
        for command in (["resume", tmp_path], ["extend", tmp_path, "--trials", 20]):
            assert f"is in use by {holder}" in shell.refused(*command)


# --- export


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_is_what_export_writes(shell: Shell, folder: Path) -> None:
    result = shell("export", folder)
    rows = rows_of(result.out)
    assert result.code == 0
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, TRIALS + 1)]
    accuracies = [float(row["val_acc"]) for row in rows if "diverged" not in row["ended"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert {"lr", "schedule", "milestones", "val_acc_low", "best_epoch", "ended", "hours"} <= rows[0].keys()


@pytest.mark.parametrize("fmt", ["csv", "json", "yaml", "markdown", "latex", "parquet"])
def test_every_format_has_the_same_trials(shell: Shell, folder: Path, tmp_path: Path, fmt: str) -> None:
    path = tmp_path / "deep" / f"table.{fmt}"
    result = shell("export", folder, "--format", fmt, "-o", path)
    assert (result.code, result.out) == (0, "")
    trials = [int(row["trial"]) for row in rows_of(shell("export", folder).out)]
    content = path.read_bytes()
    match fmt:
        case "csv":
            found = [int(row["trial"]) for row in rows_of(content.decode())]
        case "json":
            found = [row["trial"] for row in json.loads(content)]
        case "yaml":
            found = [row["trial"] for row in yaml.safe_load(content)]
        case "markdown":
            found = [int(line.split("|")[2]) for line in content.decode().splitlines()[2:]]
        case "latex":
            found = [int(line.split("&")[1]) for line in content.decode().splitlines() if line[:1].isdigit()]
        case _:
            found = pq.read_table(path)["trial"].to_pylist()
    assert found == trials
    assert len(trials) == TRIALS


def test_a_binary_format_goes_to_standard_output_as_it_is(folder: Path) -> None:
    command = [sys.executable, "-m", "tune_gate", "export", str(folder), "--format", "parquet"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=180)
    assert pq.read_table(io.BytesIO(done.stdout)).num_rows == TRIALS


def test_only_the_best_are_exported(shell: Shell, folder: Path) -> None:
    every = rows_of(shell("export", folder).out)
    assert rows_of(shell("export", folder, "--top", 2).out) == every[:2]
    assert rows_of(shell("export", folder, "--top", 99).out) == every


def test_an_unknown_format_is_misuse(shell: Shell, folder: Path) -> None:
    assert shell.refused("export", folder, "--format", "cvs") == "unknown format 'cvs'; did you mean 'csv'?"


def test_an_export_that_cannot_be_written_is_one_line(shell: Shell, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = shell("export", folder, "-o", tmp_path / "file" / "table.csv")
    assert result.code == 1
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err


def test_the_configuration_of_a_trial_is_a_study_that_launch_takes(shell: Shell, folder: Path, tmp_path: Path) -> None:
    rows = rows_of(shell("export", folder).out)
    best, third = (shell("export", folder, "--config-of", which) for which in ("best", rows[2]["trial"]))
    for result, row in ((best, rows[0]), (third, rows[2])):
        assert result.code == 0
        assert result.out.startswith(f"# study night, trial {row['trial']}: ")
        spec = study_spec(yaml.safe_load(result.out))
        assert spec.name == f"night-trial-{row['trial']}"
        assert spec.epochs == 9
        assert spec.base_config.lr == float(row["lr"])
    path = tmp_path / "best.yaml"
    assert shell("export", folder, "--config-of", "best", "-o", path).out == ""
    assert path.read_text() == best.out


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("worst", "--config-of 'worst' is neither 'best' nor the number of a trial"),
        ("-1", "--config-of '-1' is neither"),
        ("²", "--config-of '²' is neither"),
        ("99", "unknown trial '99'; "),
    ],
)
def test_the_configuration_of_nothing_is_misuse(shell: Shell, folder: Path, which: str, expected: str) -> None:
    assert shell.refused("export", folder, "--config-of", which).startswith(expected)


def test_there_is_no_best_of_nothing(shell: Shell, tmp_path: Path) -> None:
    create_study(study_spec({}), tmp_path)
    assert "has no best trial yet" in shell.refused("export", tmp_path, "--config-of", "best")
