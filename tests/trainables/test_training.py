"""Training on small data: it learns, it repeats itself, and it reports in full."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from data_samples import npz_arrays, write_npz
from torch.nn.functional import cross_entropy

from trainables.augment import prepare
from trainables.config import trial_config
from trainables.device import cpu
from trainables.errors import CheckpointError, ConfigError
from trainables.schedules import gate_rate, trunk_rate
from trainables.training import EpochReport, evaluate, start_run, train

TIMING = ("seconds", "images_per_second")
GATE_METRICS = {
    "val_gate_loss", "train_gate_loss", "gate_mean", "gate_q05", "gate_q25", "gate_q50", "gate_q75", "gate_q95",
    "gate_mean_right", "gate_mean_wrong", "val_acc_shallow", "val_acc_deep",
}  # fmt: skip


def train_digits(**settings: object) -> list[EpochReport]:
    config = trial_config({"data": "digits", "depth": 14, "epochs": 1, "schedule": "constant", **settings})
    return list(train(start_run(config, cpu())))


def repeatable(reports: Sequence[EpochReport]) -> list[dict[str, float]]:
    return [{k: v for k, v in report.metrics().items() if k not in TIMING} for report in reports]


@pytest.fixture(scope="module")
def three_epochs() -> list[EpochReport]:
    return train_digits(epochs=3, schedule="multistep")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Forty random images: enough where nothing need be learned."""
    return write_npz(tmp_path_factory.mktemp("tiny"), npz_arrays())


def test_it_learns(three_epochs: list[EpochReport]) -> None:
    first, *_, last = three_epochs
    assert last.train_loss < 0.6 * first.train_loss
    assert last.train_gate_loss is not None
    assert first.train_gate_loss is not None
    assert last.train_gate_loss < first.train_gate_loss
    assert max(report.val_acc for report in three_epochs) > 0.6  # chance is 0.1


def test_one_complete_report_per_epoch(three_epochs: list[EpochReport]) -> None:
    assert [report.epoch for report in three_epochs] == [1, 2, 3]
    for report in three_epochs:
        metrics = report.metrics()
        assert all(math.isfinite(value) for value in metrics.values())
        assert metrics.keys() >= GATE_METRICS
        assert "noisy_acc_given" not in metrics
        assert report.val_images == 143
        assert report.seconds > 0
        assert report.images_per_second > 0
        assert not report.diverged
        quantiles = [metrics[f"gate_q{share}"] for share in ("05", "25", "50", "75", "95")]
        assert quantiles == sorted(quantiles)
        assert 0 < quantiles[0] <= metrics["gate_mean"] <= quantiles[-1] < 1


def test_same_seed_same_bits(three_epochs: list[EpochReport]) -> None:
    torch.manual_seed(12345)  # global random state is no input
    assert repeatable(train_digits(epochs=3, schedule="multistep")) == repeatable(three_epochs)


def test_another_seed_differs(three_epochs: list[EpochReport]) -> None:
    assert repeatable(train_digits(seed=1)) != repeatable(three_epochs[:1])


def test_the_rates_are_those_of_the_schedules(tiny: str) -> None:
    settings = {
        "epochs": 4,
        "schedule": "multistep",
        "milestones": [2, 3],
        "warmup_epochs": 1,
        "schedule_gate": "follow",
    }
    config = trial_config({"data": tiny, **settings})
    run = start_run(config, cpu())
    for epoch, report in enumerate(train(run)):
        assert (report.lr, report.lr_gate) == (trunk_rate(config, epoch), gate_rate(config, epoch))
        assert run.optimizers.trunk.param_groups[0]["lr"] == report.lr
        assert run.optimizers.gate is not None
        assert run.optimizers.gate.param_groups[0]["lr"] == report.lr_gate


def test_without_gate_nothing_is_said_of_it() -> None:
    [report] = train_digits(gate="none")
    assert not report.metrics().keys() & GATE_METRICS
    assert report.val_acc > 0.15


@pytest.mark.parametrize("settings", [{"gate_iters": 3}, {"gate_input": "early"}, {"label_smoothing": 0.1}])
def test_each_kind_of_step_trains(settings: dict[str, object]) -> None:
    first, second = train_digits(epochs=2, **settings)
    assert second.train_loss < first.train_loss
    assert repeatable([first]) != repeatable(train_digits())


def test_gate_iters_beyond_the_batches_leave_the_trunk_alone(tiny: str) -> None:
    config = trial_config({"data": tiny, "gate_iters": 1000, "epochs": 1})
    run = start_run(config, cpu())
    trunk = [weight.clone() for weight in run.model.trunk_parameters()]
    gate = [weight.clone() for weight in run.model.gate_parameters()]
    list(train(run))
    assert all(torch.equal(*pair) for pair in zip(trunk, run.model.trunk_parameters(), strict=True))
    assert not any(torch.equal(*pair) for pair in zip(gate, run.model.gate_parameters(), strict=True))


def test_label_noise_is_measured_on_the_noisy_images() -> None:
    [report] = train_digits(label_noise=0.4)
    assert report.noisy_acc_given is not None
    assert report.noisy_acc_true is not None
    assert 0 <= report.noisy_acc_given + report.noisy_acc_true <= 1  # the two labels of an image differ
    assert report.val_images == 143


@pytest.mark.parametrize("settings", [{"lr": 1e6}, {"lr_gate": 1e30}])
def test_divergence_ends_the_run_with_the_floor(settings: dict[str, object]) -> None:
    reports = train_digits(epochs=5, **settings)
    assert len(reports) < 5
    assert [report.diverged for report in reports] == [False] * (len(reports) - 1) + [True]
    assert reports[-1].val_acc == 0.0


def test_evaluation_against_the_definition() -> None:
    config = trial_config({"data": "digits", "epochs": 1})
    run = start_run(config, cpu())
    [report] = train(run)
    data, result = run.data, run.validation
    assert result is not None
    with torch.no_grad():
        exits = run.model(prepare(data.val.images, data.mean, data.std))
    labels = data.val.labels
    assert report.val_acc == result.accuracy == (exits.logits.argmax(1) == labels).double().mean().item()
    assert result.shallow_accuracy == (exits.shallow.argmax(1) == labels).double().mean().item()
    assert result.deep_accuracy == (exits.deep.argmax(1) == labels).double().mean().item()
    assert result.loss == pytest.approx(cross_entropy(exits.logits, labels).item(), rel=1e-5)
    assert result.gate_loss == pytest.approx(cross_entropy(exits.gate_logits, labels).item(), rel=1e-5)
    assert result.g is not None
    torch.testing.assert_close(result.g, exits.g)
    assert torch.equal(result.predicted, exits.logits.argmax(1))


def test_evaluation_leaves_no_trace() -> None:
    run = start_run(trial_config({"data": "digits"}), cpu())
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    state = run.generator.get_state()
    evaluate(run.model, run.data.val, run.data, run.device)
    assert all(torch.equal(tensor, before[name]) for name, tensor in run.model.state_dict().items())
    assert torch.equal(run.generator.get_state(), state)


def test_the_best_epoch_is_kept_in_mind(tiny: str) -> None:
    run = start_run(trial_config({"data": tiny, "epochs": 6, "batch_size": 8}), cpu())
    reports = list(train(run))
    best = max(reports, key=lambda report: report.val_acc)
    assert (run.best_epoch, run.best_val_acc) == (best.epoch, best.val_acc)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"schedule": "multisteps"}, ConfigError),
        ({"schedule_gate": "folow"}, ConfigError),
        ({"gate": "entropi"}, ConfigError),
        ({"init": "baseline", "baseline": "absent.pt"}, CheckpointError),
    ],
)
def test_what_is_wrong_shows_before_the_first_epoch(settings: dict[str, object], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        start_run(trial_config({"data": "digits", **settings}), cpu())


def test_a_baseline_is_where_the_trunk_starts(tmp_path: object) -> None:
    plain = start_run(trial_config({"data": "digits", "gate": "none", "seed": 5}), cpu()).model
    path = f"{tmp_path}/plain.pt"
    torch.save({"state_dict": plain.state_dict()}, path)
    run = start_run(trial_config({"data": "digits", "init": "baseline", "baseline": path}), cpu())
    own, given = run.model.trunk.state_dict(), plain.trunk.state_dict()
    assert all(torch.equal(own[name], given[name]) for name in given if not name.startswith("classifier"))
