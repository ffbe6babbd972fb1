"""From a trial's settings to its data, held once per process, and on request once per machine; the test split has
its own door.

A process keeps the two data sets it used last, found by the settings that determine them. Files are not
watched: a process that has read a file goes on with what it read.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import torch

from trainables.config import TrialConfig
from trainables.data.checks import check_part, check_raw
from trainables.data.contract import Origin, RawData, SearchData, Split
from trainables.data.noise import replace_labels
from trainables.data.sharing import shared_data
from trainables.data.sources import find_source
from trainables.data.splits import SPLITS
from trainables.errors import DataError


def load_search_data(config: TrialConfig) -> SearchData:
    """The training and validation data of a trial; nothing of the test split is read.

    Split and label noise follow `split_seed`, not `seed`, so every trial of a study sees the same samples and
    the same wrong labels. Trials that differ in noise or augmentation share one copy of the images; treat the
    tensors as read-only.

    Raises:
        DataError: the data are missing, damaged or unfit, or cannot be split as the settings ask.
    """
    clean = _load_clean(config.data, config.data_dir, config.split, config.split_seed, config.val_fraction)
    augment = clean.augment if config.augment == "auto" else config.augment
    if config.label_noise == 0:
        return replace(clean, augment=augment)
    true_labels = clean.train.labels
    labels, noisy = replace_labels(true_labels, len(clean.classes), config.label_noise, config.split_seed)
    train = Split(clean.train.images, labels)
    return replace(clean, train=train, augment=augment, true_labels=true_labels, noisy=noisy)


def load_test_data(config: TrialConfig) -> Split:
    """The test split, for the final measurement only; a search has no business here.

    Raises:
        DataError: there is none, it is damaged, or it does not fit the training data in shape or classes.
    """
    search = load_search_data(config)
    test = _load_test(config.data, config.data_dir)
    check_part(test, search.train, search.classes, f"test part of data {config.data!r}")
    return test


def check_data(config: TrialConfig) -> None:
    """Loads what the search will use, downloads included, so that what is wrong shows before it starts.

    Raises:
        DataError: as `load_search_data`.
    """
    load_search_data(config)


class _Sharing:
    """With whom this process shares what it reads."""

    scope: str | None = None


def share_on_machine(scope: str) -> None:
    """From now on, share the images that this process reads with the others of this machine that name the same scope.

    A worker shares with the workers of its study: memory then does not grow with their number, and what must be
    fetched is fetched once.
    """
    _Sharing.scope = scope


@functools.lru_cache(maxsize=2)
def _load_clean(data: str, data_dir: str, split: str, split_seed: int, val_fraction: float) -> SearchData:
    read = functools.partial(_read_clean, data, data_dir, split, split_seed, val_fraction)
    if _Sharing.scope is None:
        return read()
    return shared_data((_Sharing.scope, data, data_dir, split, split_seed, val_fraction, _stamp(data)), read)


def _stamp(data: str) -> tuple[int, int] | None:
    """Changes when the user's file changes; None for data that are no file."""
    _, argument = find_source(data)
    try:
        status = Path(argument).expanduser().stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _read_clean(data: str, data_dir: str, split: str, split_seed: int, val_fraction: float) -> SearchData:
    source, argument = find_source(data)
    raw = source.load(_origin(argument, data_dir))
    check_raw(raw, data)
    train, val = _train_and_val(raw, data, split, split_seed, val_fraction)
    mean, std = raw.statistics or channel_statistics(train.images)
    return SearchData(train, val, raw.classes, mean, std, raw.augment)


@functools.lru_cache(maxsize=1)
def _load_test(data: str, data_dir: str) -> Split:
    source, argument = find_source(data)
    return source.load_test(_origin(argument, data_dir))


def _origin(argument: str, data_dir: str) -> Origin:
    return Origin(argument, Path(data_dir).expanduser())


def _train_and_val(raw: RawData, data: str, split: str, split_seed: int, val_fraction: float) -> tuple[Split, Split]:
    """The official validation split, or else one drawn from the training samples."""
    if raw.val is not None:
        return raw.train, raw.val
    try:
        kept, drawn = SPLITS[split](raw.train.labels, val_fraction, split_seed)
    except DataError as error:
        raise DataError(f"data {data!r}: {error}") from None
    return raw.train.select(kept), raw.train.select(drawn)


def channel_statistics(images: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (population) standard deviation of each channel of (N, C, H, W) uint8, in [0, 1] units.

    A constant channel gets a standard deviation of 1, so that dividing by it is harmless.
    """
    levels = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in images.unbind(1):
        # Counting the 256 levels is exact, and needs no float copy of the images.
        counts = torch.bincount(channel.reshape(-1), minlength=256).double()
        mean = (counts @ levels / counts.sum()).item()
        variance = (counts @ (levels - mean).square() / counts.sum()).item()
        means.append(mean)
        deviations.append(variance**0.5 if counts.count_nonzero() > 1 else 1.0)
    return tuple(means), tuple(deviations)
