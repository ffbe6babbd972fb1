"""Which recorded configuration stands for a point that a replayed search tries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from tune_gate.replay.recorded import RecordedCurves

#: `nearest`: the same configuration may be met again. `unused`: each is met once, so there are no more trials than
#: configurations.
LookupKind = Literal["nearest", "unused"]


class Lookup:
    """The nearest recorded configuration in the unit cube, two different choices being as far apart as 0 and 1.

    Of several that are equally near, one that was not met before in this run is taken, the earliest: the repeats of a
    setting in a study are told apart.
    """

    def __init__(self, curves: RecordedCurves, kind: LookupKind = "nearest") -> None:
        self._curves = curves
        self._kind = kind
        self._met = np.zeros(len(curves.points), dtype=bool)
        self._is_choice = np.array([count > 0 for count in curves.cube.choices])

    def row(self, settings: Mapping[str, Any]) -> int:
        """The row of the configuration that stands for `settings`; from now on it has been met."""
        wanted = self._curves.cube.encode(settings)
        gaps = self._curves.vectors - wanted
        gaps[:, self._is_choice] = gaps[:, self._is_choice] != 0
        absent = np.isnan(gaps)
        if absent.any():
            alike = np.isnan(self._curves.vectors) & np.isnan(wanted)
            gaps[absent] = np.where(alike, 0.0, 1.0)[absent]
        distances = np.einsum("ij,ij->i", gaps, gaps)
        if self._kind == "unused":
            distances[self._met] = np.inf
        nearest = np.flatnonzero(distances <= distances.min())
        fresh = nearest[~self._met[nearest]]
        row = int(fresh[0] if len(fresh) else nearest[0])
        self._met[row] = True
        return row
