"""Every column that a command writes is told in docs/tables.md, in its own section."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import pytest

from analysis import BEST_TABLE_COLUMNS, OPERATING_POINT_COLUMNS, Noise, Safety, Study, compare, ledger, open_study
from analysis.confirmation import confirmation_runs, confirmation_table, confirmed_differences
from analysis.costs import Saved
from analysis.early_stopping import RungSafety
from analysis.gate import exit_table, gate_groups, read_survey, skipping_table
from analysis.importance import IMPORTANCE_COLUMNS
from analysis.main_effects import EFFECT_COLUMNS, INTERACTION_COLUMNS
from tests.analysis.conftest import log_bytes
from tests.analysis.studies import write_survey
from tests.analysis.test_confirmation import confirming_events, confirming_study

DOCS = Path(__file__).resolve().parents[2] / "docs" / "tables.md"


@pytest.fixture(scope="module")
def told() -> dict[str, set[str]]:
    """The names in code type, by the section's title."""
    parts = re.split(r"^#+ (.*)$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {title: set(re.findall(r"`(\w+)`", text)) for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def named(kind: type) -> set[str]:
    return {part.name for part in fields(kind)}


def test_best_effects_noise_and_safety(told: dict[str, set[str]]) -> None:
    assert told["The best-config table"] >= BEST_TABLE_COLUMNS.keys()
    assert told["Effects"] >= {*EFFECT_COLUMNS, *INTERACTION_COLUMNS, *IMPORTANCE_COLUMNS}
    assert told["Noise"] >= named(Noise)
    assert told["Safety of early stopping"] >= named(RungSafety) | named(Safety)


def test_accuracy_against_compute(told: dict[str, set[str]]) -> None:
    assert told["Accuracy against compute"] >= OPERATING_POINT_COLUMNS.keys()


def test_ledger_and_comparison(told: dict[str, set[str]], study: Study) -> None:
    folded = ledger(study)
    assert told["Ledger"] >= {*folded.trials, *folded.totals, *folded.to_record()} - {"study"} | named(Saved)
    found = compare([study, study])
    assert told["Comparison"] >= {*found.studies, *found.to_record()}


def test_confirmation_and_gate(told: dict[str, set[str]], write_study, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    confirming = open_study(write_study(log_bytes(confirming_events()), study=confirming_study()))
    tables: Iterable[Iterable[str]] = (
        confirmation_table(confirming).drop(columns=list(confirming.spec.space)),
        confirmed_differences(confirming),
        confirmation_runs(confirming),
    )
    assert told["Confirmation"] >= {str(name) for table in tables for name in table}
    survey = read_survey(write_survey(tmp_path / "survey.npz"))
    made = (gate_groups(survey), exit_table(survey), skipping_table(survey))
    assert told["Gate"] >= {str(name) for table in made for name in table}
