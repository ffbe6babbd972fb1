"""Batches: crops and flips against a per-sample reference, normalisation, sizes, determinism."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
import torchvision.transforms.v2.functional as transforms

from trainables.augment import (
    AUGMENTATIONS,
    apply_augmentation,
    batch_bounds,
    default_padding,
    draw_augmentation,
    epoch_batches,
    ordered_batches,
    prepare,
)
from trainables.config import TrialConfig
from trainables.data import Split
from trainables.errors import DataError

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_images(count: int = 40, channels: int = 3, height: int = 16, width: int = 12) -> torch.Tensor:
    shape = (count, channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(9))


def numbered_split(count: int) -> Split:
    """Sample i is an image full of i, with label i."""
    labels = torch.arange(count)
    return Split(labels.to(torch.uint8)[:, None, None, None].expand(count, 3, 8, 8).contiguous(), labels)


@pytest.mark.parametrize("kind", AUGMENTATIONS)
@pytest.mark.parametrize("channels", [1, 3])
def test_gather_equals_torchvision_sample_by_sample(kind: str, channels: int) -> None:
    images = some_images(channels=channels)
    draws = draw_augmentation(kind, len(images), 2, generator())
    batch = apply_augmentation(images, draws)
    for index, image in enumerate(images):
        padded = transforms.pad(image, [draws.padding] * 4)
        window = transforms.crop(padded, int(draws.top[index]), int(draws.left[index]), 16, 12)
        wanted = transforms.horizontal_flip(window) if draws.mirrored[index] else window
        assert torch.equal(batch[index], wanted)


def test_none_changes_nothing() -> None:
    images = some_images()
    draws = draw_augmentation("none", len(images), 2, generator())
    assert torch.equal(apply_augmentation(images, draws), images)


def test_draws_are_uniform_and_crop_never_mirrors() -> None:
    draws = draw_augmentation("crop-flip", 18_000, 4, generator())
    for offsets in (draws.top, draws.left):
        counts = offsets.bincount()
        assert len(counts) == 9
        assert all(abs(count - 2000) < 220 for count in counts.tolist())  # five standard deviations
    assert abs(int(draws.mirrored.sum()) - 9000) < 340
    assert not torch.equal(draws.top, draws.left)
    assert not draw_augmentation("crop", 1000, 4, generator()).mirrored.any()


def test_unknown_augmentation_names_the_nearest() -> None:
    with pytest.raises(DataError, match="unknown augmentation 'crop-flop'; did you mean 'crop-flip'"):
        draw_augmentation("crop-flop", 1, 1, generator())


def test_the_configuration_offers_exactly_the_registered_augmentations() -> None:
    assert set(get_args(TrialConfig.model_fields["augment"].annotation)) == {"auto", *AUGMENTATIONS}


@pytest.mark.parametrize(("height", "padding"), [(32, 4), (28, 3), (8, 1)])
def test_padding_is_an_eighth(height: int, padding: int) -> None:
    assert default_padding(height) == padding


def test_prepare_normalises_as_torchvision_and_is_channels_last() -> None:
    images = some_images()
    before = images.clone()
    prepared = prepare(images, MEAN, STD)
    wanted = transforms.normalize(images.float() / 255, list(MEAN), list(STD))
    torch.testing.assert_close(prepared, wanted, rtol=1e-5, atol=1e-6)
    assert prepared.dtype == torch.float32
    assert prepared.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("count", "size", "sizes"),
    [(6, 3, [3, 3]), (8, 3, [3, 3, 2]), (7, 3, [3, 4]), (3, 2, [3]), (1, 4, [1]), (2, 4, [2]), (0, 4, [])],
)
def test_a_last_batch_of_one_joins_the_one_before(count: int, size: int, sizes: list[int]) -> None:
    bounds = batch_bounds(count, size)
    assert [stop - start for start, stop in bounds] == sizes
    assert [index for start, stop in bounds for index in range(start, stop)] == list(range(count))


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_an_epoch_sees_every_sample_once_with_its_label(kind: str) -> None:
    split = numbered_split(25)
    batches = list(epoch_batches(split, (0.0,) * 3, (1.0,) * 3, 8, kind, generator()))
    assert [len(labels) for _, labels in batches] == [8, 8, 9]
    labels = torch.cat([labels for _, labels in batches])
    assert sorted(labels.tolist()) == list(range(25))
    assert labels.tolist() != list(range(25))
    images = torch.cat([images for images, _ in batches])
    assert images.is_contiguous(memory_format=torch.channels_last)
    # The middle of a window never shows the border.
    torch.testing.assert_close(images[:, 0, 4, 4] * 255, labels.float())


def test_an_epoch_repeats_by_generator_and_goes_on_with_it() -> None:
    split = Split(some_images(), torch.arange(40))
    shared = generator()
    first, repeated, second = (
        torch.cat([images for images, _ in epoch_batches(split, MEAN, STD, 8, "crop-flip", source)])
        for source in (shared, generator(), shared)
    )
    assert torch.equal(first, repeated)
    assert not torch.equal(first, second)


def test_an_epoch_draws_when_called_so_state_can_be_saved_in_mid_epoch() -> None:
    source = generator()
    batches = epoch_batches(Split(some_images(), torch.arange(40)), MEAN, STD, 8, "crop-flip", source)
    after_call = source.get_state()
    list(batches)
    assert torch.equal(source.get_state(), after_call)


def test_sample_order_does_not_depend_on_the_augmentation() -> None:
    split = numbered_split(20)
    orders = [
        torch.cat([labels for _, labels in epoch_batches(split, MEAN, STD, 8, kind, generator())])
        for kind in AUGMENTATIONS
    ]
    assert all(torch.equal(order, orders[0]) for order in orders)


def test_ordered_batches_are_the_split_itself() -> None:
    split = Split(some_images(17), torch.arange(17))
    batches = list(ordered_batches(split, MEAN, STD, 8))
    assert [len(labels) for _, labels in batches] == [8, 8, 1]
    assert torch.equal(torch.cat([labels for _, labels in batches]), split.labels)
    assert torch.equal(torch.cat([images for images, _ in batches]), prepare(split.images, MEAN, STD))


def test_device_is_where_the_split_lies_unless_given() -> None:
    split = numbered_split(5).to("meta")
    images, labels = next(ordered_batches(split, MEAN, STD, 5))
    assert images.device.type == labels.device.type == "meta"
    device = torch.device("meta")
    images, labels = next(epoch_batches(numbered_split(5), MEAN, STD, 5, "crop-flip", generator(), device))
    assert images.device.type == labels.device.type == "meta"
