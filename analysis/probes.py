"""What probes cost, from a study's reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from analysis.events import PROBE_SECONDS
from analysis.report_lines import METRIC_PREFIX

if TYPE_CHECKING:
    import pandas as pd


def probe_seconds(reports: pd.DataFrame) -> pd.Series[float]:
    """Seconds that the probe of each report took; 0 where there was none."""
    name = METRIC_PREFIX + PROBE_SECONDS
    return reports[name].fillna(0.0) if name in reports else 0.0 * reports["time"].astype("float64")
