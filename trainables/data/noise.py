"""Label noise: an exact number of training labels replaced by wrong ones."""

from __future__ import annotations

import numpy as np
import torch

# Keeps the draw independent of the split's, which has the same seed.
_STREAM = 1


def replace_labels(labels: torch.Tensor, classes: int, fraction: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Symmetric noise: round(fraction * N) labels, each replaced by a uniformly drawn other class.

    Args:
        labels: (N,) int64, 0 to classes - 1.
        classes: their number, at least 2.
        fraction: share of labels to replace, in [0, 1).
        seed: determines which, and by what.

    Returns:
        The new labels, (N,) int64, and which of them were replaced, (N,) bool.
    """
    generator = np.random.default_rng([seed, _STREAM])
    count = round(fraction * len(labels))
    replaced = torch.from_numpy(generator.permutation(len(labels))[:count])
    # A shift of 1 to classes - 1 reaches every other class with the same probability, and never its own.
    shifts = torch.from_numpy(generator.integers(1, classes, size=count))
    noisy = labels.clone()
    noisy[replaced] = (labels[replaced] + shifts) % classes
    mask = torch.zeros(len(labels), dtype=torch.bool)
    mask[replaced] = True
    return noisy, mask
