"""Batches of normalised images: random crops and flips for the whole batch at once, on the device.

Every random number is drawn on the CPU, for a whole epoch, so that results do not depend on the device.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch

from trainables.data.contract import Split
from trainables.errors import DataError, unknown_name


@dataclass(frozen=True, eq=False)
class Draws:
    """The random choices for n images.

    Attributes:
        padding: width in pixels of the black border from which windows are cut.
        top: (n,) int64, the window's first row in the padded image, 0 to 2 * padding.
        left: (n,) int64, its first column.
        mirrored: (n,) bool, whether the window is flipped left to right.
    """

    padding: int
    top: torch.Tensor
    left: torch.Tensor
    mirrored: torch.Tensor

    def to(self, device: torch.device) -> Draws:
        """The same draws on `device`."""
        return Draws(self.padding, self.top.to(device), self.left.to(device), self.mirrored.to(device))

    def span(self, start: int, stop: int) -> Draws:
        """The draws of images start to stop - 1."""
        return Draws(self.padding, self.top[start:stop], self.left[start:stop], self.mirrored[start:stop])


def _draw_none(count: int, _padding: int, _generator: torch.Generator) -> Draws:
    zeros = torch.zeros(count, dtype=torch.int64)
    return Draws(0, zeros, zeros, torch.zeros(count, dtype=torch.bool))


def _draw_crop(count: int, padding: int, generator: torch.Generator) -> Draws:
    top, left = torch.randint(0, 2 * padding + 1, (2, count), generator=generator)
    return Draws(padding, top, left, torch.zeros(count, dtype=torch.bool))


def _draw_crop_flip(count: int, padding: int, generator: torch.Generator) -> Draws:
    crop = _draw_crop(count, padding, generator)
    mirrored = torch.randint(0, 2, (count,), generator=generator).bool()
    return Draws(padding, crop.top, crop.left, mirrored)


#: The augmentations by name: (number of images, padding in pixels, CPU generator) -> their draws.
AUGMENTATIONS: Mapping[str, Callable[[int, int, torch.Generator], Draws]] = MappingProxyType(
    {"crop-flip": _draw_crop_flip, "crop": _draw_crop, "none": _draw_none}
)


def default_padding(height: int) -> int:
    """The border for images of `height` pixels: an eighth, so 4 for CIFAR's 32 as published, and 1 for 8."""
    return height // 8


def draw_augmentation(kind: str, count: int, padding: int, generator: torch.Generator) -> Draws:
    """The random choices of augmentation `kind` for `count` images, drawn from a CPU generator.

    Raises:
        DataError: `kind` is not in `AUGMENTATIONS`.
    """
    if kind not in AUGMENTATIONS:
        raise DataError(unknown_name("augmentation", kind, AUGMENTATIONS))
    return AUGMENTATIONS[kind](count, padding, generator)


def apply_augmentation(images: torch.Tensor, draws: Draws) -> torch.Tensor:
    """One window of each black-padded image, mirrored where drawn; as torchvision's RandomCrop and flip.

    Args:
        images: (B, C, H, W) uint8, not yet normalised: the border is black.
        draws: those of these B images, on the same device.

    Returns:
        (B, C, H, W) uint8, channels-last in memory.
    """
    count, _, height, width = images.shape
    device = images.device
    padded = torch.nn.functional.pad(images, [draws.padding] * 4)
    across = torch.arange(width, device=device)
    columns = draws.left[:, None] + torch.where(draws.mirrored[:, None], width - 1 - across, across)
    rows = draws.top[:, None] + torch.arange(height, device=device)
    sample = torch.arange(count, device=device)
    # Indices on both sides of the channel axis put it last: the windows come out channels-last for nothing.
    windows = padded[sample[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return windows.permute(0, 3, 1, 2)


def prepare(images: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Images as a network takes them: (images / 255 - mean) / std.

    Args:
        images: (B, C, H, W) uint8.
        mean: one per channel, in [0, 1] units.
        std: likewise, positive.

    Returns:
        (B, C, H, W) float32, channels-last in memory, on the device of `images`.
    """
    return _normaliser(mean, std, images.device)(images)


def _normaliser(
    mean: Sequence[float], std: Sequence[float], device: torch.device
) -> Callable[[torch.Tensor], torch.Tensor]:
    """`prepare` with its constants already on `device`: made once per epoch, not per batch."""
    spread = torch.tensor(std, dtype=torch.float64).view(1, -1, 1, 1)
    centre = torch.tensor(mean, dtype=torch.float64).view(1, -1, 1, 1)
    scale, shift = (1 / (255 * spread)).float().to(device), (-centre / spread).float().to(device)

    def normalise(images: torch.Tensor) -> torch.Tensor:
        return images.to(torch.float32, memory_format=torch.channels_last).mul_(scale).add_(shift)

    return normalise


def batch_bounds(count: int, batch_size: int) -> list[tuple[int, int]]:
    """Start and stop of each training batch of `count` samples; the last, partial batch is kept.

    A last batch of one sample joins the batch before it: batch normalisation cannot train on one sample.
    """
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return list(itertools.pairwise([*starts, count]))


def epoch_batches(
    split: Split,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int,
    augment: str,
    generator: torch.Generator,
    device: torch.device | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """One epoch of augmented training batches in random order; see `batch_bounds` for their sizes.

    Order and augmentation are drawn from the CPU `generator` by this call, not when the batches are taken.

    Args:
        split: the training samples; move them to the device once (`Split.to`) rather than every epoch.
        mean: see `prepare`.
        std: see `prepare`.
        batch_size: samples per batch.
        augment: an entry of `AUGMENTATIONS`.
        generator: on the CPU; advanced by the same amount whatever the device.
        device: where the batches are made; None: where the split lies.

    Yields:
        Images (B, C, H, W) float32 channels-last, and labels (B,) int64.

    Raises:
        DataError: `augment` is unknown.
    """
    target = device or split.images.device
    count = len(split)
    order = torch.randperm(count, generator=generator)
    draws = draw_augmentation(augment, count, default_padding(split.images.shape[2]), generator)
    normalise = _normaliser(mean, std, target)
    return _augmented(split.to(target), order.to(target), draws.to(target), batch_size, normalise)


def _augmented(
    split: Split,
    order: torch.Tensor,
    draws: Draws,
    batch_size: int,
    normalise: Callable[[torch.Tensor], torch.Tensor],
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for start, stop in batch_bounds(len(split), batch_size):
        chosen = order[start:stop]
        images = apply_augmentation(split.images[chosen], draws.span(start, stop))
        yield normalise(images), split.labels[chosen]


def ordered_batches(
    split: Split,
    mean: Sequence[float],
    std: Sequence[float],
    batch_size: int,
    device: torch.device | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Every sample once, in order and unaltered, for evaluation; the last batch may be of one sample.

    Arguments and yields as in `epoch_batches`.
    """
    target = device or split.images.device
    normalise = _normaliser(mean, std, target)
    for start in range(0, len(split), batch_size):
        images = split.images[start : start + batch_size].to(target)
        yield normalise(images), split.labels[start : start + batch_size].to(target)
