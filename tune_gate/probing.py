"""What a search asks of the reports that it judges by their probes."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from analysis.events import PROBE_VALUE


def lacks_probe(probed: Collection[int], epoch: int, metrics: Mapping[str, float], metric: str) -> bool:
    """Whether a report has no probe where one was to be taken. A trial that diverged needs none."""
    diverged = metrics.get("diverged") or not math.isfinite(metrics[metric])
    return epoch in probed and not diverged and PROBE_VALUE not in metrics
