"""What an epoch's model costs at inference, and how accurate it is where the easy images skip layers.

An early gate knows how hard an image is before the rest of stage 3 has run, so the images for which it is most shut may
leave through the shallow exit and skip the rest. Thresholds on g differ from one model to the next; shares of skipped
images do not, so each epoch says what the same few shares would cost it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from trainables.complexity import Breakdown

#: Shares of the validation images that skip, beside none (the mix alone) and all (the shallow exit alone).
SKIPPED_SHARES: Mapping[str, float] = {"val_acc_skip25": 0.25, "val_acc_skip50": 0.5, "val_acc_skip75": 0.75}


def compute_statistics(macs: Breakdown, gate_input: str) -> dict[str, float]:
    """Multiply-accumulates of one image, forward: `macs` where it skips nothing, `macs_skipping` where it skips."""
    total = {"macs": float(macs.total)}
    if macs.gate == 0 or gate_input != "early":
        return total
    return {**total, "macs_skipping": float(macs.total - macs.skippable)}


def skipping_statistics(g: torch.Tensor, mixed: torch.Tensor, shallow: torch.Tensor) -> dict[str, float]:
    """Accuracy of a model with an early gate where each share of the images, those with the smallest g, skips.

    Args:
        g: how far the gate opens for each image, shape (N,).
        mixed: whether the mix of both exits is right, shape (N,), bool.
        shallow: whether the shallow exit is, shape (N,), bool.

    Of a share that is no whole number of images, the part of an image is left out. Images with the same g skip in
    their order in the split.
    """
    easiest_first = torch.argsort(g, stable=True)
    found = {}
    for name, share in SKIPPED_SHARES.items():
        skips = torch.zeros(len(g), dtype=torch.bool)
        skips[easiest_first[: int(share * len(g))]] = True
        found[name] = torch.where(skips, shallow, mixed).double().mean().item()
    return found
