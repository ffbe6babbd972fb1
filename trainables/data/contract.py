"""What a data source gives, and what a search gets: frozen values around uint8 images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, in one order.

    Attributes:
        images: (N, C, H, W) uint8, 0 to 255.
        labels: (N,) int64, 0 to the number of classes - 1.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Split:
        """The same split on `device`; itself where it already lies there."""
        return Split(self.images.to(device), self.labels.to(device))

    def select(self, indices: torch.Tensor) -> Split:
        """A copy of the samples at `indices` ((n,) int64), in that order."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True, eq=False)
class RawData:
    """What a source gives to a search; the test split is not part of it.

    Attributes:
        train: every sample that may be trained on, the later validation part included where `val` is None.
        val: the official validation split, where the data have one.
        classes: the name of each label.
        mean: published channel means in [0, 1] units; None: compute them from the training part.
        std: published channel standard deviations, likewise.
        augment: the recommended entry of `trainables.augment.AUGMENTATIONS`.
    """

    train: Split
    val: Split | None
    classes: tuple[str, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    augment: str

    @property
    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """The published mean and std; None unless both are given."""
        return None if self.mean is None or self.std is None else (self.mean, self.std)


@dataclass(frozen=True)
class Origin:
    """Where a source finds its files.

    Attributes:
        argument: what follows the colon in `npz:PATH`, as given; empty for a source without argument.
        data_dir: the folder that holds downloaded data sets.
    """

    argument: str
    data_dir: Path

    @property
    def path(self) -> Path:
        """`argument` as a path, a leading ~ expanded."""
        return Path(self.argument).expanduser()


@dataclass(frozen=True)
class Source:
    """A registered kind of data set.

    Attributes:
        load: reads training and validation data; raises `DataError`.
        load_test: reads the test split, which `load` leaves alone; raises `DataError`.
        argument: what the user writes after the colon, for messages; None: nothing.
    """

    load: Callable[[Origin], RawData]
    load_test: Callable[[Origin], Split]
    argument: str | None = None


@dataclass(frozen=True, eq=False)
class SearchData:
    """What the trials of a search train and validate on.

    Attributes:
        train: the training part; its labels carry the label noise, if any.
        val: the validation part; its labels are always the true ones.
        classes: the name of each label.
        mean: channel means in [0, 1] units.
        std: channel standard deviations in [0, 1] units, all positive.
        augment: an entry of `trainables.augment.AUGMENTATIONS`, "auto" resolved.
        true_labels: (N,) int64, the training labels before noise; None without label noise.
        noisy: (N,) bool, which training labels were replaced; None without label noise.
    """

    train: Split
    val: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: str
    true_labels: torch.Tensor | None = None
    noisy: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> SearchData:
        """The same data with every tensor on `device`; nothing is copied where it already lies there."""
        return replace(
            self,
            train=self.train.to(device),
            val=self.val.to(device),
            true_labels=None if self.true_labels is None else self.true_labels.to(device),
            noisy=None if self.noisy is None else self.noisy.to(device),
        )
