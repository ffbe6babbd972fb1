"""Reports that can decide nothing."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tune_gate.failures import report_problem

GOOD: dict[str, Any] = {"val_acc": 0.5, "diverged": 0.0}


@pytest.mark.parametrize(
    ("result", "metrics", "problem"),
    [
        ({"epoch": 3}, GOOD, None),
        ({"epoch": 3}, {**GOOD, "val_acc": math.nan, "val_images": 10}, None),
        ({}, GOOD, "a report without its epoch"),
        ({"epoch": "three"}, GOOD, "(it has 'three')"),
        ({"epoch": 3}, {"diverged": 0.0}, "the report of epoch 3 has no 'val_acc'"),
        ({"epoch": 3}, {"val_acc": 0.5}, "the report of epoch 3 has no 'diverged'"),
        ({"epoch": 3}, {**GOOD, "val_acc": "good"}, "has val_acc 'good', which is no number"),
        ({"epoch": 3}, {**GOOD, "val_loss": None}, "has val_loss None, which is no number"),
    ],
)
def test_a_report_needs_its_epoch_and_numbers(
    result: dict[str, Any], metrics: dict[str, Any], problem: str | None
) -> None:
    found = report_problem(result, metrics, "val_acc")
    assert found is None if problem is None else problem in (found or "")
