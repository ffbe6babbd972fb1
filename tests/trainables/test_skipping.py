"""What an image costs at inference, and what skipping layers costs in accuracy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.trainables.data_samples import npz_arrays, write_npz
from trainables.augment import ordered_batches
from trainables.complexity import count_macs
from trainables.config import trial_config
from trainables.device import cpu
from trainables.skipping import SKIPPED_SHARES, skipping_statistics
from trainables.training import EpochReport, TrainingRun, start_run, train


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Forty random images."""
    return write_npz(tmp_path_factory.mktemp("tiny"), npz_arrays())


def one_epoch(data: str, **settings: Any) -> tuple[TrainingRun, EpochReport]:
    run = start_run(trial_config({"data": data, "depth": 14, "epochs": 1, **settings}), cpu())
    (report,) = train(run)
    return run, report


def test_the_easiest_images_skip_first() -> None:
    g = torch.tensor([0.9, 0.1, 0.5, 0.3])
    mixed = torch.tensor([True, True, True, True])
    shallow = torch.tensor([True, True, True, False])
    assert skipping_statistics(g, mixed, shallow) == {
        "val_acc_skip25": 1.0,
        "val_acc_skip50": 0.75,
        "val_acc_skip75": 0.75,
    }


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_each_share_changes_as_many_answers_as_images_skip(images: list[tuple[float, bool, bool]]) -> None:
    g, mixed, shallow = (torch.tensor(column) for column in zip(*images, strict=True))
    found = skipping_statistics(g, mixed, shallow)
    for name, share in SKIPPED_SHARES.items():
        gained = round(found[name] * len(images)) - int(mixed.sum())
        assert abs(gained) <= int(share * len(images))
    assert skipping_statistics(g, mixed, mixed) == dict.fromkeys(SKIPPED_SHARES, mixed.double().mean().item())


def test_an_early_gate_reports_what_its_own_prediction_reaches(tiny: str) -> None:
    run, report = one_epoch(tiny, gate_input="early")
    assert run.validation is not None
    assert run.validation.g is not None
    g = run.validation.g
    images = len(g)
    for name, share in SKIPPED_SHARES.items():
        threshold = g.sort().values[int(share * images)].item()  # the first that does not skip
        right = skipped = 0
        for batch, labels in ordered_batches(run.data.val, run.data.mean, run.data.std, 1000, cpu().place):
            logits, skips = run.model.predict(batch, threshold)
            right += int((logits.argmax(1) == labels).sum())
            skipped += int(skips.sum())
        assert skipped == int(share * images)
        assert report.metrics()[name] == pytest.approx(right / images)
    counted = count_macs(run.model, tuple(run.data.train.images.shape[1:]))
    assert (report.macs, report.macs_skipping) == (counted.total, counted.total - counted.skippable)


@pytest.mark.parametrize("settings", [{"gate_input": "late"}, {"gate": "none"}])
def test_where_nothing_can_be_skipped_the_cost_alone_is_reported(tiny: str, settings: dict[str, str]) -> None:
    run, report = one_epoch(tiny, **settings)
    assert report.macs == run.macs.total
    assert not {"macs_skipping", *SKIPPED_SHARES} & report.metrics().keys()
