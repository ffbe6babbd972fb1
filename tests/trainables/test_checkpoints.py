"""A run that was saved and taken up again is, bit for bit, the run that was never interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from data_samples import npz_arrays, write_npz

from trainables.atomic import take_place
from trainables.checkpoints import BEST, CheckpointFolder, holds_run, load_model, load_run, save_run
from trainables.config import TrialConfig, trial_config
from trainables.device import cpu
from trainables.errors import CheckpointError
from trainables.training import TrainingRun, evaluate, start_run, train

TIMING = ("seconds", "images_per_second")


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forty random images as the data of every run here."""
    DATA["data"] = write_npz(tmp_path_factory.mktemp("tiny"), npz_arrays())
    yield
    DATA.clear()


#: Five batches per epoch, so that the trunk's and the gate's batches differ.
SETTINGS: dict[str, object] = {"depth": 14, "epochs": 4, "batch_size": 8, "augment": "crop-flip"}
DATA: dict[str, object] = {}


def config(**settings: object) -> TrialConfig:
    return trial_config({**SETTINGS, **DATA, **settings})


def metrics(report: Any) -> dict[str, float]:
    return {name: value for name, value in report.metrics().items() if name not in TIMING}


def train_to(run: TrainingRun, epoch: int) -> list[dict[str, float]]:
    reports = train(run)
    return [metrics(next(reports)) for _ in range(epoch - run.epoch)]


def assert_same_state(one: Any, other: Any) -> None:
    """Equality of nested optimizer and model states, to the bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same_state(one[key], other[key])
    elif isinstance(one, list):
        for pair in zip(one, other, strict=True):
            assert_same_state(*pair)
    else:
        assert one == other


def assert_same_run(one: TrainingRun, other: TrainingRun) -> None:
    assert_same_state(one.model.state_dict(), other.model.state_dict())
    assert_same_state(one.optimizers.trunk.state_dict(), other.optimizers.trunk.state_dict())
    if one.optimizers.gate is None or other.optimizers.gate is None:
        assert one.optimizers.gate is other.optimizers.gate
    else:
        assert_same_state(one.optimizers.gate.state_dict(), other.optimizers.gate.state_dict())
    assert_same_state(one.generator.get_state(), other.generator.get_state())
    assert (one.epoch, one.best_epoch, one.best_val_acc) == (other.epoch, other.best_epoch, other.best_val_acc)


@pytest.fixture(scope="module")
def four_epochs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of four epochs, all of whose checkpoints are kept."""
    folder = CheckpointFolder(tmp_path_factory.mktemp("run"), keep=9)
    run = start_run(config(), cpu())
    for _ in train(run):
        folder.save(run)
    return folder.path


@pytest.fixture
def copy(four_epochs: Path, tmp_path: Path) -> CheckpointFolder:
    """The same, to be damaged."""
    for path in four_epochs.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return CheckpointFolder(tmp_path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("settings", [{}, {"gate": "none"}, {"gate_iters": 3, "gate_input": "early"}])
def test_going_on_is_bitwise_the_uninterrupted_run(settings: dict[str, object], tmp_path: Path) -> None:
    whole = start_run(config(epochs=3, **settings), cpu())
    expected = train_to(whole, 3)
    first = start_run(whole.config, cpu())
    train_to(first, 2)
    save_run(first, tmp_path / "run.pt")
    torch.manual_seed(999)  # global random state is no part of a run
    second = load_run(tmp_path / "run.pt", whole.config, cpu())
    assert_same_run(second, first)
    assert train_to(second, 3) == expected[2:]
    assert_same_run(second, whole)


def test_resume_takes_the_newest(copy: CheckpointFolder) -> None:
    run, passed_over = copy.resume(config(), cpu())
    assert (run.epoch, passed_over) == (4, [])


def test_resume_respects_up_to(copy: CheckpointFolder) -> None:
    run, passed_over = copy.resume(config(), cpu(), up_to=2)
    assert (run.epoch, passed_over) == (2, [])
    run, passed_over = copy.resume(config(), cpu(), up_to=0)
    assert (run.epoch, passed_over) == (0, [])


def test_a_damaged_checkpoint_is_passed_over_with_a_message(copy: CheckpointFolder, four_epochs: Path) -> None:
    truncate(copy.path / "epoch-0004.pt")
    (copy.path / "epoch-0003.pt").write_bytes(b"")
    run, passed_over = copy.resume(config(), cpu())
    assert run.epoch == 2
    assert [message.split()[0] for message in passed_over] == [
        str(copy.path / "epoch-0004.pt"),
        str(copy.path / "epoch-0003.pt"),
    ]
    train_to(run, 4)
    assert_same_run(run, load_run(four_epochs / "epoch-0004.pt", config(), cpu()))


def test_with_no_good_checkpoint_it_starts_anew(copy: CheckpointFolder) -> None:
    for path in copy.newest_first():
        truncate(path)
    run, passed_over = copy.resume(config(), cpu())
    assert (run.epoch, len(passed_over)) == (0, 4)
    assert_same_run(run, start_run(config(), cpu()))


def test_an_absent_folder_is_a_start(tmp_path: Path) -> None:
    run, passed_over = CheckpointFolder(tmp_path / "absent").resume(config(), cpu())
    assert (run.epoch, passed_over) == (0, [])


def test_other_settings_are_refused_by_name(copy: CheckpointFolder) -> None:
    path = copy.path / "epoch-0004.pt"
    with pytest.raises(CheckpointError, match=r"epoch-0004\.pt was made with lr 0\.1, not 0\.2"):
        load_run(path, config(lr=0.2), cpu())
    # starting over among the checkpoints of another run would destroy them
    with pytest.raises(CheckpointError, match="lr_gate"):
        copy.resume(config(lr_gate=0.5), cpu())
    assert path.exists()


def test_a_setting_that_an_older_version_did_not_know_had_its_default(copy: CheckpointFolder) -> None:
    path = copy.path / "epoch-0004.pt"
    state = torch.load(path, weights_only=True)
    del state["config"]["decay"]
    torch.save(state, path)
    assert load_run(path, config(), cpu()).epoch == 4
    with pytest.raises(CheckpointError, match=r"was made with decay 0\.2, not 0\.3"):
        load_run(path, config(decay=0.3), cpu())


def test_data_may_have_moved(copy: CheckpointFolder) -> None:
    assert load_run(copy.path / "epoch-0004.pt", config(data_dir="/elsewhere"), cpu()).epoch == 4


def test_only_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    run = start_run(config(), cpu())
    beside = []  # which epoch is the best differs from one processor to the next
    for _ in train(run):
        folder.save(run)
        if run.epoch > 2 and run.best_epoch != run.epoch:
            beside.append(f"best-by-epoch-{run.epoch:04d}.pt")
    states = ["epoch-0003.pt", "epoch-0004.pt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*beside, BEST, *states]
    best = load_model(tmp_path / BEST)
    assert (best.epoch, best.val_acc) == (run.best_epoch, run.best_val_acc)


def test_every_other_epoch_and_the_last(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, every=2, keep=9)
    run = start_run(config(epochs=5), cpu())
    for _ in train(run):
        folder.save(run)
    assert [path.name for path in folder.newest_first()] == ["epoch-0005.pt", "epoch-0004.pt", "epoch-0002.pt"]


def test_an_attempt_done_over_is_not_crowded_out_by_the_old_one(copy: CheckpointFolder) -> None:
    run, _ = copy.resume(config(), cpu(), up_to=1)
    train_to(run, 2)
    copy.save(run)
    assert [path.name for path in copy.newest_first()] == ["epoch-0002.pt", "epoch-0001.pt"]


def play(folder: CheckpointFolder, run: TrainingRun, values: list[float]) -> None:
    """Save `run` after epochs with these validation accuracies, without the training."""
    for value in values:
        run.epoch += 1
        if value > run.best_val_acc:
            run.best_val_acc, run.best_epoch = value, run.epoch
        folder.save(run)


@pytest.mark.parametrize(
    ("every", "before", "up_to", "again"),
    [
        (1, [0.5, 0.4, 0.9], 2, [0.45, 0.48]),  # killed after saving epoch 3 and before it was reported
        (1, [0.5, 0.4, 0.9], 2, [0.6]),
        (1, [0.5, 0.9], 1, [0.4]),  # the best by then is the state itself
        (2, [0.5, 0.4, 0.6, 0.3, 0.7], 5, [0.2]),  # epoch 5 was reported, and is done over
        (3, [0.5, 0.6, 0.4, 0.7, 0.8], 4, []),
    ],
)
def test_the_best_model_is_never_of_an_epoch_that_was_done_over(
    every: int, before: list[float], up_to: int, again: list[float], tmp_path: Path
) -> None:
    settings = config(epochs=20)
    folder = CheckpointFolder(tmp_path, every=every)
    play(folder, start_run(settings, cpu()), before)
    run, _ = folder.resume(settings, cpu(), up_to=up_to)
    play(folder, run, again)
    best = load_model(tmp_path / BEST)
    assert (best.epoch, best.val_acc) == (run.best_epoch, run.best_val_acc)


def test_the_best_model_of_an_older_folder_is_dropped_where_it_was_done_over(tmp_path: Path) -> None:
    settings = config(epochs=20)
    folder = CheckpointFolder(tmp_path)
    play(folder, start_run(settings, cpu()), [0.5, 0.4, 0.9])
    for path in tmp_path.glob("best-by-*"):
        path.unlink()
    folder.resume(settings, cpu(), up_to=2)
    assert not (tmp_path / BEST).exists()


@pytest.mark.parametrize("links", ["links", "copies"])
def test_a_file_takes_the_place_of_another(links: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    if links == "copies":
        monkeypatch.setattr("os.link", no_links)
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    for _ in range(2):
        take_place(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == (tmp_path / "new").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


@pytest.mark.parametrize("entry", ["config", "channels", "epoch", "best_val_acc", "model", "trunk_optimizer"])
def test_a_checkpoint_without_one_of_its_entries_is_damaged(entry: str, copy: CheckpointFolder) -> None:
    path = copy.path / "epoch-0004.pt"
    state = torch.load(path, weights_only=True)
    del state[entry]
    torch.save(state, path)
    with pytest.raises(CheckpointError, match=f"is damaged: it has no '{entry}'$"):
        load_model(path)
    torch.save({**state, entry: "something else"}, path)
    with pytest.raises(CheckpointError, match=f"is damaged: its '{entry}' is a str$"):
        load_model(path)
    run, passed_over = copy.resume(config(), cpu())
    assert run.epoch == 3
    assert len(passed_over) == 1


def test_a_failed_save_leaves_the_old_file_and_no_other(
    copy: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = copy.resume(config(), cpu())
    path = copy.path / "epoch-0004.pt"
    before, names = path.read_bytes(), sorted(copy.path.iterdir())

    def full_disk(_state: object, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_run(run, path)
    assert path.read_bytes() == before
    assert sorted(copy.path.iterdir()) == names


def test_load_model_is_the_model_that_was_saved(four_epochs: Path) -> None:
    saved = load_model(four_epochs / "epoch-0004.pt")
    run = load_run(four_epochs / "epoch-0004.pt", config(), cpu())
    assert (saved.config, saved.epoch) == (config(), 4)
    assert not saved.model.training
    one = evaluate(saved.model, run.data.val, run.data, cpu())
    other = evaluate(run.model, run.data.val, run.data, cpu())
    assert (one.accuracy, one.loss) == (other.accuracy, other.loss)


def test_a_baseline_that_is_gone_is_not_missed(tmp_path: Path) -> None:
    baseline, path = tmp_path / "plain.pt", tmp_path / "run.pt"
    torch.save({"state_dict": start_run(config(gate="none"), cpu()).model.state_dict()}, baseline)
    begun = config(init="baseline", baseline=str(baseline))
    save_run(start_run(begun, cpu()), path)
    baseline.unlink()
    assert load_run(path, begun, cpu()).epoch == 0
    assert load_model(path).config == begun


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no checkpoint at"),
        (b"", "is damaged, or is no checkpoint"),
        (b"PK\x03\x04" + bytes(5000), "is damaged, or is no checkpoint"),
        (b"hello world" * 50, "is damaged, or is no checkpoint"),
    ],
)
def test_an_unusable_file_is_one_line(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "some.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_however_short_it_was_cut(copy: CheckpointFolder) -> None:
    path = copy.path / "epoch-0004.pt"
    whole = path.read_bytes()
    for length in (1, 100, 5000, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="is damaged"):
            load_model(path)


def test_a_folder_and_foreign_weights_are_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="directory"):
        load_model(tmp_path)
    torch.save({"conv1.weight": torch.zeros(3)}, tmp_path / "foreign.pt")
    assert not holds_run(tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="no checkpoint of this version"):
        load_model(tmp_path / "foreign.pt")
