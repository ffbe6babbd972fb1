"""The registry of data sets, and those that need no files.

A new data set is a pair of functions (see `Source`) and one entry in `SOURCES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch

from trainables.data import cifar, files
from trainables.data.contract import Origin, RawData, Source, Split
from trainables.data.splits import stratified_split
from trainables.errors import DataError, unknown_name

SYNTHETIC_CLASSES = 10
SYNTHETIC_TRAIN = 1000
SYNTHETIC_TEST = 250


def load_digits(_origin: Origin) -> RawData:
    """Scikit-learn's 1,797 handwritten digits, 1x8x8, less a fixed stratified fifth; 0..16 become 0..255.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits (UCI), the test set.
    """
    digits = _all_digits()
    kept, _ = stratified_split(digits.labels, files.TEST_FRACTION, files.TEST_SEED)
    # No flips: a mirrored digit is not a digit.
    return RawData(digits.select(kept), None, tuple("0123456789"), mean=None, std=None, augment="crop")


def load_digits_test(_origin: Origin) -> Split:
    """The fifth of the digits that `load_digits` leaves out."""
    digits = _all_digits()
    _, held_out = stratified_split(digits.labels, files.TEST_FRACTION, files.TEST_SEED)
    return digits.select(held_out)


def _all_digits() -> Split:
    from sklearn.datasets import load_digits as sklearn_digits  # noqa: PLC0415  heavy

    bunch = sklearn_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    return Split(torch.from_numpy(images), torch.from_numpy(bunch.target.astype(np.int64)))


def load_synthetic(_origin: Origin) -> RawData:
    """1,000 images, 3x32x32, of 10 balanced classes: one smooth random pattern per class, moved and noisy."""
    classes = tuple(f"pattern {label}" for label in range(SYNTHETIC_CLASSES))
    return RawData(_draw_patterns(SYNTHETIC_TRAIN, 1), None, classes, mean=None, std=None, augment="none")


def load_synthetic_test(_origin: Origin) -> Split:
    """250 further images of the same patterns."""
    return _draw_patterns(SYNTHETIC_TEST, 2)


def _draw_patterns(count: int, seed: int) -> Split:
    """`count` images: the class's pattern, shifted cyclically by up to 4 pixels, with Gaussian noise."""
    # The patterns are the same whatever the seed of the samples.
    coarse = torch.randn(SYNTHETIC_CLASSES, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    patterns = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bicubic")
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % SYNTHETIC_CLASSES
    labels = labels[torch.randperm(count, generator=generator)]
    moves = torch.randint(-4, 5, (2, count, 1), generator=generator)
    rows, columns = (torch.arange(32) + moves) % 32
    moved = patterns[labels[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    noise = torch.randn(moved.shape, generator=generator)
    pixels = 128 + 40 * moved + 50 * noise
    return Split(pixels.round().clamp(0, 255).to(torch.uint8).contiguous(), labels)


#: The data sets by the name that stands before the colon in a configuration.
SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "digits": Source(load_digits, load_digits_test),
        "synthetic": Source(load_synthetic, load_synthetic_test),
        "cifar10": Source(cifar.load_cifar10, cifar.load_cifar10_test),
        "cifar100": Source(cifar.load_cifar100, cifar.load_cifar100_test),
        "npz": Source(files.load_npz, files.load_npz_test, argument="FILE.npz"),
        "folder": Source(files.load_folder, files.load_folder_test, argument="FOLDER"),
    }
)


def find_source(data: str) -> tuple[Source, str]:
    """The source that a setting like `digits` or `npz:PATH` names, and what follows its colon.

    Raises:
        DataError: there is no such source, its argument is missing, or it takes none.
    """
    name, _, argument = data.partition(":")
    if name not in SOURCES:
        raise DataError(unknown_name("data set", name, SOURCES))
    source = SOURCES[name]
    if source.argument is not None and not argument:
        raise DataError(f"data {data!r} lacks a path; write '{name}:{source.argument}'")
    if source.argument is None and data != name:
        raise DataError(f"data {data!r}: {name!r} takes nothing after it; write {name!r}")
    return source, argument
