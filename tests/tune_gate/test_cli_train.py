"""`tune-gate train` and `tune-gate evaluate` as a user meets them."""

from __future__ import annotations

import csv
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from analysis.statistics import wilson_interval
from trainables.checkpoints import load_model
from trainables.config import PRESETS, TrialConfig, trial_config
from trainables.data import load_test_data
from tune_gate.cli import main
from tune_gate.setting_options import parse_setting

COMMAND = (sys.executable, "-c", "from tune_gate.cli import main; main()")


class Answer:
    """What a command came back with."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def complaint(self) -> str:
        assert self.code == 2
        assert self.err.count("\n") == 1
        return self.err


Run = Callable[..., Answer]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs tune-gate in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["tune-gate", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, *capsys.readouterr())

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs on digits."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["tune-gate", "train", "--epochs", "2", "--dir", str(folder), "--threads", "1"])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def scalars(folder: Path) -> dict[str, list[int]]:
    """The steps of each scalar and histogram that TensorBoard would show."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"), {"scalars": 0, "histograms": 0})  # 0: keep all
    events.Reload()
    tags = {tag: [event.step for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    return tags | {tag: [event.step for event in events.Histograms(tag)] for tag in events.Tags()["histograms"]}


def test_a_run_leaves_everything_behind(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {
        "config.yaml", "epochs.csv", "g.csv", "checkpoints", "tensorboard",
    }  # fmt: skip
    assert {path.name for path in (trained / "checkpoints").iterdir()} == {
        "best.pt", "epoch-0001.pt", "epoch-0002.pt",
    }  # fmt: skip
    epochs = rows_of(trained / "epochs.csv")
    assert [row["epoch"] for row in epochs] == ["1", "2"]
    shown = scalars(trained)
    assert shown["metrics/val_acc"] == shown["rates/lr_gate"] == shown["gate/g"] == [1, 2]
    best = load_model(trained / "checkpoints" / "best.pt")
    images = rows_of(trained / "g.csv")
    assert [row["index"] for row in images] == [str(index) for index in range(143)]
    assert sum(int(row["right"]) for row in images) / 143 == pytest.approx(best.val_acc)
    assert all((row["right"] == "1") == (row["label"] == row["predicted"]) for row in images)
    assert all(0 < float(row["g"]) < 1 for row in images)
    content = yaml.safe_load((trained / "config.yaml").read_text())
    assert (content["name"], content["epochs"], content["seed"]) == ("run", 2, 0)


def test_a_finished_run_says_so(run: Run, trained: Path) -> None:
    before = (trained / "epochs.csv").read_bytes()
    answer = run("train", "--resume", "--dir", trained)
    assert answer.code == 0
    assert "was finished before" in answer.out
    assert (trained / "epochs.csv").read_bytes() == before


def test_nothing_is_written_over(run: Run, trained: Path) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()}
    assert "is not empty" in run("train", "--epochs", 1, "--dir", trained).complaint
    assert {path: path.read_bytes() for path in trained.rglob("*") if path.is_file()} == before


def test_runs_without_a_folder_get_one_each(run: Run, tmp_path: Path) -> None:
    for _ in range(2):
        assert run("train", "--epochs", 1, "--gate", "none").code == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["digits-resnet14", "digits-resnet14-2"]
    assert not list(tmp_path.rglob("g.csv"))
    assert "gate/g" not in scalars(tmp_path / "runs" / "digits-resnet14")


def test_the_configuration_of_a_run_makes_the_same_run(run: Run, trained: Path, tmp_path: Path) -> None:
    assert run("train", "--config", trained / "config.yaml", "--dir", tmp_path / "again").code == 0
    one, other = rows_of(trained / "epochs.csv"), rows_of(tmp_path / "again" / "epochs.csv")
    for row in (*one, *other):
        del row["seconds"], row["images_per_second"]
    assert one == other


def test_options_beat_the_file_and_the_file_the_preset(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_text("data: digits\nepochs: 7\nlr: 0.05\ndepth: 14\nsplit: stratified\n")
    answer = run(
        "train", "--preset", "greyc-2020", "--config", file, "--epochs=1", "--lr_gate", "1e-3", "--dir", "r",
        "--kappa", "1.5", "--milestones", "0.4,0.6",
    )  # fmt: skip
    assert answer.code == 0
    config = load_model(tmp_path / "r/checkpoints/best.pt").config
    assert (config.epochs, config.lr_gate, config.kappa, config.milestones) == (1, 1e-3, 1.5, (0.4, 0.6))
    assert config.lr == 0.05
    assert config.gate_period == PRESETS["greyc-2020"]["gate_period"]


def test_interrupted_it_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    settings = ["--epochs", "40", "--dir", str(tmp_path / "run"), "--threads", "1", "--schedule", "constant"]
    with subprocess.Popen([*COMMAND, "train", *settings], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert seen[1].startswith("epoch 2/40")
    assert process.returncode == 130
    command = next(line for line in rest.splitlines() if "go on with: " in line).partition("go on with: ")[2]
    done = len(rows_of(tmp_path / "run" / "epochs.csv"))
    assert scalars(tmp_path / "run")["metrics/val_acc"] == list(range(1, done + 1))
    assert 2 <= done < 38

    # Had it been a crash, the newest epoch would be told of but not saved: it is done over, and replaced.
    newest = max((tmp_path / "run" / "checkpoints").glob("epoch-*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    arguments = shlex.split(command)[1:]
    with subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        warning, first, _ = (process.stdout.readline() for _ in range(3))
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
    assert warning.startswith("warning: ")
    assert first.startswith(f"epoch {newest.stem.removeprefix('epoch-').lstrip('0')}/40")
    assert process.returncode == 130
    epochs = [int(row["epoch"]) for row in rows_of(tmp_path / "run" / "epochs.csv")]
    assert epochs == list(range(1, len(epochs) + 1))
    assert scalars(tmp_path / "run")["metrics/val_acc"] == epochs


def test_one_process_per_run(run: Run, trained: Path) -> None:
    from tune_gate.lock import hold

    with hold(trained):
        assert "is in use by process" in run("train", "--resume", "--dir", trained).complaint
    assert run("train", "--resume", "--dir", trained).code == 0


def test_divergence_is_a_failure_with_its_record(run: Run, tmp_path: Path) -> None:
    answer = run("train", "--epochs", 3, "--lr", "1e6", "--dir", "hot")
    assert answer.code == 1
    assert answer.err.startswith("tune-gate: the run diverged at epoch 1")
    assert rows_of(tmp_path / "hot" / "epochs.csv")[0]["diverged"] == "True"
    assert not (tmp_path / "hot" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--lr-gat", "0.1"), "--lr-gate"),
        (("--shedule", "cosine"), "--schedule"),
        (("--schedule", "cosin"), "'cosine'"),
        (("--gate", "entropi"), "'entropy'"),
        (("--depth", "15"), "nearest: 14"),
        (("--lr", "{"), "setting 'lr'"),
        (("--lr", "-1"), "setting 'lr'"),
        (("--milestones", "0.6,0.4"), "ascending"),
        (("--data", "npz:absent.npz"), "absent.npz"),
        (("--init", "baseline", "--baseline", "absent.pt"), "absent.pt"),
        (("--preset", "greyc-2021"), "greyc-20"),
        (("--config", "absent.yaml"), "absent.yaml"),
        (("--device", "gpu"), "unknown device 'gpu'"),
        (("--resume",), "--dir"),
        (("--resume", "--dir", "absent"), "absent holds no run"),
        (("--resume", "--dir", "absent", "--lr", "1"), "no settings"),
        (("stray",), "stray"),
    ],
)
def test_misuse_is_one_line_and_leaves_nothing(
    arguments: tuple[str, ...], words: str, run: Run, tmp_path: Path
) -> None:
    assert words in run("train", *arguments).complaint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["- 1\n", "a: [", "lr: 0.1\nlrr: 2\n", "trials: 3\nconfig: {}\n", "config: 3\n"])
def test_a_bad_file_is_one_line(content: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(content)
    assert run("train", "--config", "bad.yaml").complaint
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]


def test_every_setting_is_an_option_with_its_default(run: Run) -> None:
    help_text = run("train", "--help").out
    for name in TrialConfig.model_fields:
        assert f"  --{name.replace('_', '-')} " in help_text
    assert "Default: 0.4,0.6." in help_text


@pytest.mark.parametrize("name", TrialConfig.model_fields)
def test_every_default_can_be_written_as_an_option(name: str) -> None:
    default = getattr(TrialConfig(), name)
    if default is not None:
        text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        assert getattr(trial_config({name: parse_setting(name, text)}), name) == default


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("milestones", "[133, 200]", [133, 200]),
        ("milestones", "0.4,0.6", [0.4, 0.6]),
        ("kappa", "2020", "2020"),
        ("kappa", "3.5", 3.5),
        ("gate_period", "50", 50),
        ("weight_decay", "5e-4", 5e-4),
        ("data_dir", "~", "~"),
        ("augment", "none", "none"),
        ("gate", "off", "off"),
    ],
)
def test_settings_from_text(name: str, text: str, value: object) -> None:
    parsed = parse_setting(name, text)
    assert (parsed, type(parsed)) == (value, type(value))


def test_evaluate_says_how_right_the_model_is(run: Run, trained: Path, tmp_path: Path) -> None:
    checkpoint = trained / "checkpoints" / "epoch-0002.pt"
    record = json.loads(run("evaluate", checkpoint, "--json", "--output", "g.csv").out)
    images = rows_of(tmp_path / "g.csv")
    test = load_test_data(TrialConfig())
    assert [int(row["label"]) for row in images] == test.labels.tolist()
    right = sum(row["label"] == row["predicted"] for row in images)
    assert record["images"] == len(images) == len(test)
    assert record["test_acc"] == pytest.approx(right / len(test))
    low, high = wilson_interval(right / len(test), len(test))
    assert (record["test_acc_low"], record["test_acc_high"]) == pytest.approx((float(low), float(high)))
    assert record["gate_mean"] == pytest.approx(sum(float(row["g"]) for row in images) / len(images), abs=1e-5)
    text = run("evaluate", checkpoint).out
    for name in ("test_acc", "test_acc_low", "test_acc_high", "shallow_acc", "deep_acc"):
        assert f"{100 * record[name]:.2f}" in text


def test_options_may_stand_before_the_checkpoint(run: Run, trained: Path) -> None:
    assert run("evaluate", "--data", "digits", trained / "checkpoints" / "best.pt").code == 0


def test_evaluate_takes_published_weights(run: Run, trained: Path, tmp_path: Path) -> None:
    from trainables.weights import _PUBLISHED, _renamed

    checkpoint = trained / "checkpoints" / "epoch-0002.pt"
    model = load_model(checkpoint).model
    state = {f"module.{_renamed(name, _PUBLISHED)}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "published.pt")
    ours, theirs = run("evaluate", checkpoint, "--json"), run("evaluate", "published.pt", "--json")
    assert json.loads(theirs.out) == json.loads(ours.out)
    assert "published.pt" in run("evaluate", "published.pt", "--depth", 20).complaint


def test_what_evaluate_refuses(run: Run, trained: Path, tmp_path: Path) -> None:
    checkpoint = trained / "checkpoints" / "best.pt"
    (tmp_path / "torn.pt").write_bytes(checkpoint.read_bytes()[:5000])
    assert "no checkpoint at absent.pt" in run("evaluate", "absent.pt").complaint
    assert "torn.pt is damaged" in run("evaluate", "torn.pt").complaint
    assert "directory" in run("evaluate", trained).complaint
    assert "'depth' is part of the checkpoint" in run("evaluate", checkpoint, "--depth", 20).complaint
    assert "takes images of 1 channel" in run("evaluate", checkpoint, "--data", "synthetic").complaint
    assert "npz" in run("evaluate", checkpoint, "--data", "npz:absent.npz").complaint


def test_the_command_line_is_light() -> None:
    check = (
        "import sys, tune_gate.cli; print([m for m in ('torch', 'ray', 'pandas', 'tensorboard') if m in sys.modules])"
    )
    started = time.monotonic()
    shown = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]", f"after {time.monotonic() - started:.1f} s"
