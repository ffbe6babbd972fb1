"""How a validation part is drawn from the training samples: pure functions of labels, fraction and seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch

from trainables.errors import DataError

#: (labels (N,) int64, fraction, seed) -> indices of the remaining and of the drawn samples, int64.
Splitter = Callable[[torch.Tensor, float, int], tuple[torch.Tensor, torch.Tensor]]


def stratified_split(labels: torch.Tensor, fraction: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A random part of every class: round(fraction * n) of its n samples, at least one, and never all.

    Args:
        labels: (N,) int64.
        fraction: share of each class to draw, in (0, 1).
        seed: determines the draw.

    Returns:
        The indices of the remaining and of the drawn samples, each ascending, int64.

    Raises:
        DataError: a class has one sample only, so it cannot be in both parts.
    """
    generator = np.random.default_rng(seed)
    values = labels.numpy()
    drawn = np.zeros(len(values), dtype=bool)
    for label in np.unique(values):
        members = np.flatnonzero(values == label)
        if len(members) < 2:
            raise DataError(f"class {label} has 1 sample, too few to split; add samples or leave the class out")
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        drawn[generator.permutation(members)[:count]] = True
    return torch.from_numpy(np.flatnonzero(~drawn)), torch.from_numpy(np.flatnonzero(drawn))


def published_split(labels: torch.Tensor, fraction: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The split of the GREYC runs: the first floor(fraction * N) of NumPy's legacy permutation.

    Not stratified; nested across fractions. The published runs have seed 0 and N = 50,000.

    Args:
        labels: (N,) int64; only their number matters.
        fraction: share of all samples to draw, in (0, 1).
        seed: of the legacy generator, below 2**32.

    Returns:
        The indices of the remaining and of the drawn samples, in the permutation's order, int64.

    Raises:
        DataError: one of the two parts would be empty, or the seed is too large for the legacy generator.
    """
    if seed >= 2**32:
        raise DataError(f"split 'published' needs a split_seed below 2**32 (given: {seed})")
    total = len(labels)
    count = int(np.floor(fraction * total))
    if count in (0, total):
        raise DataError(f"val_fraction {fraction} of {total} samples leaves one part of the split empty")
    # The legacy generator is the point: its stream is frozen, and the published split was drawn with it.
    order = torch.from_numpy(np.random.RandomState(seed).permutation(total).astype(np.int64))
    return order[count:], order[:count]


#: The splits by the name they have in a configuration.
SPLITS: Mapping[str, Splitter] = MappingProxyType({"stratified": stratified_split, "published": published_split})
