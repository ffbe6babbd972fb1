"""How validation parts are drawn, and how labels are made noisy."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.config import TrialConfig
from trainables.data.noise import replace_labels
from trainables.data.splits import SPLITS, published_split, stratified_split
from trainables.errors import DataError

LABELS = torch.arange(1000) % 7


def test_published_split_is_that_of_the_greyc_runs() -> None:
    kept, drawn = published_split(torch.zeros(50_000), 0.1, seed=0)
    assert drawn[:5].tolist() == [11841, 19602, 45519, 25747, 42642]
    assert len(drawn) == 5000
    assert int(drawn.sum()) == 126_459_119
    assert len(kept) == 45_000


def test_published_splits_are_nested_across_fractions() -> None:
    _, small = published_split(LABELS, 0.05, seed=0)
    _, large = published_split(LABELS, 0.2, seed=0)
    assert torch.equal(large[: len(small)], small)


@pytest.mark.parametrize("fraction", [0.0009, 1e-9])
def test_published_split_refuses_an_empty_validation_part(fraction: float) -> None:
    with pytest.raises(DataError, match=r"val_fraction .* of 1000 samples leaves one part of the split empty"):
        published_split(LABELS, fraction, seed=0)


def test_published_split_refuses_a_seed_that_the_legacy_generator_cannot_take() -> None:
    with pytest.raises(DataError, match="below 2\\*\\*32"):
        published_split(LABELS, 0.1, seed=2**32)


@pytest.mark.parametrize("name", SPLITS)
@given(fraction=st.floats(0.01, 0.99), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_every_split_partitions_the_samples_and_repeats(name: str, fraction: float, seed: int) -> None:
    kept, drawn = SPLITS[name](LABELS, fraction, seed)
    assert sorted(torch.cat([kept, drawn]).tolist()) == list(range(1000))
    assert len(kept) > 0
    assert len(drawn) > 0
    again = SPLITS[name](LABELS, fraction, seed)
    assert torch.equal(kept, again[0])
    assert torch.equal(drawn, again[1])


@pytest.mark.parametrize("name", SPLITS)
def test_every_split_depends_on_its_seed(name: str) -> None:
    assert set(SPLITS[name](LABELS, 0.2, 0)[1].tolist()) != set(SPLITS[name](LABELS, 0.2, 1)[1].tolist())


def test_the_configuration_offers_exactly_the_registered_splits() -> None:
    assert set(get_args(TrialConfig.model_fields["split"].annotation)) == set(SPLITS)


@given(
    sizes=st.lists(st.integers(2, 60), min_size=2, max_size=8),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**63),
)
@settings(max_examples=60, deadline=None)
def test_stratified_split_keeps_every_class_share(sizes: list[int], fraction: float, seed: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    _, drawn = stratified_split(labels, fraction, seed)
    for label, size in enumerate(sizes):
        count = int((labels[drawn] == label).sum())
        assert 1 <= count < size
        assert abs(count - fraction * size) <= 1 or count in (1, size - 1)


def test_stratified_split_names_a_class_too_small_to_split() -> None:
    with pytest.raises(DataError, match="class 2 has 1 sample"):
        stratified_split(torch.tensor([0, 0, 1, 1, 2]), 0.5, 0)


@pytest.mark.parametrize("fraction", [0.0001, 0.1, 0.333, 0.99])
def test_noise_replaces_the_exact_count_by_other_classes(fraction: float) -> None:
    noisy, mask = replace_labels(LABELS, 7, fraction, seed=3)
    assert int(mask.sum()) == round(fraction * 1000)
    assert torch.equal(noisy != LABELS, mask)
    assert noisy.min() >= 0
    assert noisy.max() < 7


def test_noise_repeats_by_seed_and_leaves_its_input_alone() -> None:
    before = LABELS.clone()
    first, second, other = (replace_labels(LABELS, 7, 0.3, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(LABELS, before)


def test_noise_is_uniform_over_the_other_classes() -> None:
    labels = torch.zeros(60_000, dtype=torch.int64)
    noisy, mask = replace_labels(labels, 4, 0.5, seed=0)
    counts = noisy[mask].bincount(minlength=4).tolist()
    assert counts[0] == 0
    assert all(abs(count - 10_000) < 400 for count in counts[1:])  # 400 is about five standard deviations
