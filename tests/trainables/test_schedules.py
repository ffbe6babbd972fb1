"""Learning rates, epoch by epoch."""

from __future__ import annotations

import math

import pytest

from trainables.config import trial_config
from trainables.errors import ConfigError
from trainables.schedules import GATE_SCHEDULES, TRUNK_SCHEDULES, first_drop, gate_rate, trunk_rate


@pytest.mark.parametrize("preset", ["greyc-2019", "greyc-2020"])
def test_the_published_run_epoch_by_epoch(preset):
    config = trial_config({"preset": preset})
    expected = [0.01] + 132 * [0.1] + 67 * [0.01] + 133 * [0.001]
    assert [trunk_rate(config, e) for e in range(333)] == pytest.approx(expected, rel=1e-12)
    assert [gate_rate(config, e) for e in range(333)] == 333 * [0.01]


def test_the_published_gate_steps_epoch_by_epoch():
    config = trial_config({"preset": "greyc-2019", "schedule_gate": "step"})
    # Logged steps 1 to 49, then 50 each, and what is left of 333.
    lengths = [49, 50, 50, 50, 50, 50, 34]
    expected = [0.01 * 0.1**drops for drops, length in enumerate(lengths) for _ in range(length)]
    assert [gate_rate(config, e) for e in range(333)] == pytest.approx(expected, rel=1e-12)


def test_milestones_as_fractions_of_the_epochs():
    config = trial_config({"epochs": 10, "milestones": [0.4, 0.6], "lr": 1.0})
    assert [trunk_rate(config, e) for e in range(10)] == pytest.approx(4 * [1] + 2 * [0.1] + 4 * [0.01])


@pytest.mark.parametrize("milestones", [(), (3,), (2, 3, 4)])
def test_any_number_of_milestones(milestones):
    config = trial_config({"epochs": 6, "milestones": milestones, "lr": 1.0, "gamma": 0.5})
    expected = [0.5 ** len([m for m in milestones if m <= e]) for e in range(6)]
    assert [trunk_rate(config, e) for e in range(6)] == expected


def test_cosine_after_warm_up():
    config = trial_config({"schedule": "cosine", "epochs": 12, "warmup_epochs": 2, "warmup_lr": 0.03, "lr": 0.2})
    assert [trunk_rate(config, e) for e in range(2)] == [0.03, 0.03]
    assert trunk_rate(config, 2) == 0.2
    assert trunk_rate(config, 7) == pytest.approx(0.1)
    assert trunk_rate(config, 11) == pytest.approx(0.1 * (1 + math.cos(0.9 * math.pi)))


def test_stable_then_down_to_nearly_zero():
    config = trial_config({"schedule": "stable-decay", "epochs": 10, "decay": 0.4, "warmup_epochs": 1, "lr": 1.0})
    expected = [0.01, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2]
    assert [trunk_rate(config, e) for e in range(10)] == pytest.approx(expected)
    assert first_drop(config) == 7


@pytest.mark.parametrize("decay", [3, 0.25])
def test_a_longer_trial_shares_the_stable_epochs_of_a_shorter_one(decay):
    short, long = (trial_config({"schedule": "stable-decay", "epochs": n, "decay": decay}) for n in (12, 40))
    assert [trunk_rate(short, e) for e in range(9)] == [trunk_rate(long, e) for e in range(9)]
    assert trunk_rate(short, 9) < trunk_rate(long, 9)


def test_a_decay_longer_than_the_trial_begins_with_it():
    config = trial_config({"schedule": "stable-decay", "epochs": 3, "decay": 9, "lr": 1.0})
    assert [trunk_rate(config, e) for e in range(3)] == pytest.approx([0.75, 0.5, 0.25])


def test_constant_and_warm_up():
    config = trial_config({"schedule": "constant", "epochs": 3, "warmup_epochs": 1, "warmup_lr": 0.5, "lr": 0.2})
    assert [trunk_rate(config, e) for e in range(3)] == [0.5, 0.2, 0.2]


@pytest.mark.parametrize("schedule", sorted(TRUNK_SCHEDULES))
def test_a_following_gate_has_the_trunks_shape_without_warm_up(schedule):
    settings = {"schedule": schedule, "schedule_gate": "follow", "epochs": 9, "lr": 0.2, "lr_gate": 0.004}
    warm = trial_config({**settings, "warmup_epochs": 3})
    for e in range(3, 9):
        assert gate_rate(warm, e) == pytest.approx(trunk_rate(warm, e) * 0.02)
    assert [gate_rate(warm, e) for e in range(3)] == [0.004] * 3


@pytest.mark.parametrize("schedule", sorted(TRUNK_SCHEDULES))
@pytest.mark.parametrize("schedule_gate", sorted(GATE_SCHEDULES))
@pytest.mark.parametrize("warmup_epochs", [0, 1, 4])
def test_every_schedule_gives_positive_rates_up_to_the_full_one(schedule, schedule_gate, warmup_epochs):
    config = trial_config(
        {"schedule": schedule, "schedule_gate": schedule_gate, "epochs": 4, "warmup_epochs": warmup_epochs}
    )
    for e in range(4):
        assert 0 < trunk_rate(config, e) <= config.lr
        assert 0 < gate_rate(config, e) <= config.lr_gate


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"preset": "greyc-2019"}, 134),
        ({"epochs": 10, "milestones": [0.4, 0.6]}, 5),
        ({"epochs": 10, "milestones": []}, None),
        ({"epochs": 10, "milestones": [10]}, None),
        ({"epochs": 10, "milestones": [2], "warmup_epochs": 5}, 6),
        ({"epochs": 10, "milestones": [2], "gamma": 1.0}, None),
        ({"schedule": "cosine"}, None),
        ({"schedule": "constant"}, None),
    ],
)
def test_first_drop_names_the_first_reduced_epoch_from_one(settings, expected):
    config = trial_config(settings)
    assert first_drop(config) == expected
    if expected is not None:
        assert trunk_rate(config, expected - 1) < config.lr


def test_unknown_schedules_are_errors_that_name_the_nearest():
    with pytest.raises(ConfigError, match="unknown schedule 'cosin'; did you mean 'cosine'"):
        trunk_rate(trial_config({"schedule": "cosin"}), 0)
    with pytest.raises(ConfigError, match="unknown gate schedule 'folow'; did you mean 'follow'"):
        gate_rate(trial_config({"schedule_gate": "folow"}), 0)
    with pytest.raises(ConfigError, match="did you mean 'multistep'"):
        gate_rate(trial_config({"schedule_gate": "follow", "schedule": "multistp"}), 0)
    with pytest.raises(ConfigError, match="did you mean 'multistep'"):
        first_drop(trial_config({"schedule": "multistp"}))
