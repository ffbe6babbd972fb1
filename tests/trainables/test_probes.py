"""Probes: a run that is probed trains as one that is not, and a probe is a function of where the run stands."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from data_samples import npz_arrays, write_npz

from trainables.checkpoints import load_run, save_run
from trainables.config import TrialConfig, trial_config
from trainables.device import cpu
from trainables.probes import branch, cool_down_batches, cool_down_rates, probe
from trainables.schedules import gate_rate, trunk_rate
from trainables.training import TrainingRun, evaluate, start_run, train, train_epoch

TIMING = ("seconds", "images_per_second")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Forty random images: enough where nothing need be learned."""
    return write_npz(tmp_path_factory.mktemp("tiny"), npz_arrays())


def config_of(data: str, **settings: object) -> TrialConfig:
    return trial_config({"data": data, "epochs": 4, "batch_size": 8, "gate_hidden": 16, "lr": 0.05, **settings})


def trained_for(epochs: int, config: TrialConfig) -> TrainingRun:
    run = start_run(config, cpu())
    reports = train(run)
    for _ in range(epochs):
        next(reports)
    return run


def state(run: TrainingRun) -> dict[str, object]:
    """Everything that training changes, by name; tensors are copied."""
    found: dict[str, object] = {"epoch": run.epoch, "best": (run.best_val_acc, run.best_epoch)}
    found["generator"] = run.generator.get_state()
    found |= {f"model.{name}": value.clone() for name, value in run.model.state_dict().items()}
    for name, optimizer in (("trunk", run.optimizers.trunk), ("gate", run.optimizers.gate)):
        if optimizer is None:
            continue
        record = optimizer.state_dict()
        found[f"{name}.groups"] = repr(record["param_groups"])
        for index, slots in record["state"].items():
            found |= {f"{name}.{index}.{slot}": value.clone() for slot, value in slots.items()}
    return found


def assert_same(first: dict[str, object], second: dict[str, object]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        other = second[name]
        if isinstance(value, torch.Tensor):
            assert isinstance(other, torch.Tensor)
            assert torch.equal(value, other), name
        else:
            assert value == other, name


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gate": "none"},
        {"gate_iters": 2, "schedule": "cosine", "schedule_gate": "follow"},
        {"gate_input": "early", "schedule": "stable-decay"},
    ],
)
def test_a_probed_run_has_the_epochs_of_one_that_is_not(tiny: str, settings: dict[str, object]) -> None:
    config = config_of(tiny, **settings)
    plain, probed = start_run(config, cpu()), start_run(config, cpu())
    global_state = torch.get_rng_state()
    for report, other in zip(train(plain), train(probed), strict=True):
        before = state(probed)
        probe(probed, 0.7)
        assert_same(state(probed), before)
        metrics, others = report.metrics(), other.metrics()
        assert {k: v for k, v in metrics.items() if k not in TIMING} == {
            k: v for k, v in others.items() if k not in TIMING
        }
    assert_same(state(plain), state(probed))
    assert torch.equal(torch.get_rng_state(), global_state)


def test_a_probe_is_a_function_of_the_state(tiny: str, tmp_path: Path) -> None:
    config = config_of(tiny)
    run = trained_for(2, config)
    save_run(run, tmp_path / "state.pt")
    first, again, elsewhere = (
        probe(run, 0.5),
        probe(run, 0.5),
        probe(load_run(tmp_path / "state.pt", config, cpu()), 0.5),
    )
    for other in (again, elsewhere):
        assert (other.val_acc, other.val_loss, other.train_loss) == (first.val_acc, first.val_loss, first.train_loss)
    assert probe(run, 1.0).val_loss != first.val_loss


def test_the_copy_shares_nothing_that_training_changes(tiny: str) -> None:
    run = trained_for(2, config_of(tiny))
    before, twin = state(run), branch(run)
    assert_same(state(twin) | {"best": before["best"]}, before)
    train_epoch(twin)
    assert_same(state(run), before)
    assert not torch.equal(twin.generator.get_state(), run.generator.get_state())
    moved = [name for name, value in state(twin).items() if isinstance(value, torch.Tensor) and "momentum" in name]
    assert moved
    assert all(not torch.equal(state(twin)[name], before[name]) for name in moved)  # type: ignore[arg-type]


def test_a_cool_down_of_one_epoch_is_an_epoch_at_falling_rates(tiny: str) -> None:
    """At a constant rate the same batches would be an ordinary epoch: the probe differs from it by its rates alone."""
    run = trained_for(2, config_of(tiny, schedule="constant"))
    twin = branch(run)
    train_epoch(twin)
    plain = evaluate(twin.model, run.data.val, run.data, run.device)
    found = probe(run, 0.5)
    assert found.epochs == 1.0
    assert found.epoch == 2
    assert found.seconds > 0
    assert found.val_loss != plain.loss
    assert math.isfinite(found.train_loss)


@pytest.mark.parametrize(("share", "batches"), [(0.05, 1), (0.5, 5), (1.0, 10), (0.001, 1), (1.23, 12)])
def test_the_length_is_a_share_of_the_epochs_so_far(tiny: str, share: float, batches: int) -> None:
    run = trained_for(2, config_of(tiny))
    assert cool_down_batches(run, share) == batches  # of 5 an epoch
    assert probe(run, share).epochs == pytest.approx(batches / 5)


def test_the_rates_fall_from_those_of_the_last_epoch_nearly_to_zero(tiny: str) -> None:
    config = config_of(tiny, schedule="cosine", schedule_gate="follow")
    rates = list(cool_down_rates(config, 2, 8))
    assert rates[0] == (trunk_rate(config, 2), gate_rate(config, 2))
    assert rates[-1] == pytest.approx((trunk_rate(config, 2) / 8, gate_rate(config, 2) / 8))
    falls = [first[0] - second[0] for first, second in itertools.pairwise(rates)]
    assert falls == pytest.approx([falls[0]] * 7)


def test_a_cool_down_that_explodes_has_the_worst_value_and_the_run_does_not(tiny: str) -> None:
    run = trained_for(1, config_of(tiny))
    with torch.no_grad():
        for weight in run.model.trunk_parameters():
            weight.mul_(math.inf)
    found = probe(run, 1.0)
    assert (found.diverged, found.val_acc) == (True, 0.0)
    assert run.best_val_acc > 0.0


def test_without_an_epoch_there_is_nothing_to_bring_down(tiny: str) -> None:
    with pytest.raises(ValueError, match="needs an epoch"):
        probe(start_run(config_of(tiny), cpu()), 0.1)


def test_where_the_rate_is_high_a_probe_sees_more_than_the_epoch() -> None:
    config = trial_config({"data": "digits", "epochs": 3, "lr": 0.2, "schedule": "constant", "gate_hidden": 16})
    run = start_run(config, cpu())
    *_, last = train(run)
    assert probe(run, 0.3).val_acc > last.val_acc
