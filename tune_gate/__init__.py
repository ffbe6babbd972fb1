"""tune-gate: hyperparameter search for gated ResNets on a Ray cluster.

Names are imported on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.study import open_study
    from tune_gate.api import launch, resume

__all__ = ["launch", "open_study", "resume"]

_HOME = {"launch": "tune_gate.api", "resume": "tune_gate.api", "open_study": "analysis.study"}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
