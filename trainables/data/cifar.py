"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), through torchvision; downloaded where missing."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from trainables.data.checks import split_from_arrays
from trainables.data.contract import Origin, RawData, Split
from trainables.data.sharing import locked
from trainables.errors import DataError

#: The channel statistics of the published runs, which use them for both data sets.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)


def load_cifar10(origin: Origin) -> RawData:
    """The 50,000 training images of CIFAR-10, 3x32x32; no official validation split.

    Raises:
        DataError: the files are absent and cannot be downloaded, or are damaged.
    """
    return _raw_data(_open("CIFAR10", origin.data_dir, {"train": True}))


def load_cifar10_test(origin: Origin) -> Split:
    """The 10,000 test images of CIFAR-10; errors as in `load_cifar10`."""
    return _split(_open("CIFAR10", origin.data_dir, {"train": False}))


def load_cifar100(origin: Origin) -> RawData:
    """The 50,000 training images of CIFAR-100 with their fine labels; errors as in `load_cifar10`."""
    return _raw_data(_open("CIFAR100", origin.data_dir, {"train": True}))


def load_cifar100_test(origin: Origin) -> Split:
    """The 10,000 test images of CIFAR-100; errors as in `load_cifar10`."""
    return _split(_open("CIFAR100", origin.data_dir, {"train": False}))


# A torchvision data set is untyped; its `data` are (N, 32, 32, 3) uint8, its `targets` a list of labels.
def _raw_data(dataset: Any) -> RawData:
    return RawData(_split(dataset), None, tuple(dataset.classes), MEAN, STD, augment="crop-flip")


def _split(dataset: Any) -> Split:
    return split_from_arrays(dataset.data, np.asarray(dataset.targets), "CIFAR images", "CIFAR labels")


def _open(kind: str, data_dir: Path, part: Mapping[str, bool]) -> Any:
    """The torchvision data set, read from `data_dir`, after a download where that folder lacks it."""
    from torchvision import datasets  # noqa: PLC0415  heavy

    dataset_class = getattr(datasets, kind)
    if not (data_dir / dataset_class.base_folder).is_dir():
        _download(dataset_class, data_dir)
    try:
        return dataset_class(str(data_dir), download=False, **part)
    except (RuntimeError, OSError, EOFError) as error:
        folder = data_dir / dataset_class.base_folder
        raise DataError(
            f"{folder}: the files are incomplete or damaged ({error}); remove the folder to load it again"
        ) from None


def _download(dataset_class: Any, data_dir: Path) -> None:
    """Downloads beside the final place, then renames: no other process ever reads half a file. One process does it;
    others that see the folder wait for it.
    """
    folder = dataset_class.base_folder
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with locked(data_dir):
            if (data_dir / folder).is_dir():
                return
            _fetch(dataset_class, data_dir)
    except (OSError, RuntimeError, HTTPException) as error:
        raise DataError(
            f"{data_dir / folder}: not there, and the download from {dataset_class.url} failed ({error}); "
            f"unpack {dataset_class.filename} in {data_dir}"
        ) from None


def _fetch(dataset_class: Any, data_dir: Path) -> None:
    folder = dataset_class.base_folder
    with tempfile.TemporaryDirectory(dir=data_dir, prefix="download-") as scratch:
        dataset_class(scratch, download=True)
        if not (data_dir / folder).is_dir():
            _move(Path(scratch) / folder, data_dir / folder)


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError:
        # Another process may have been first; then its files serve as well.
        if not target.is_dir():
            raise
