"""The rule of the test split: opened in confirmations alone, once for each completed trial, after all training."""

from __future__ import annotations

from collections.abc import Iterator

from analysis.events import BudgetExtended, Event, MeasuredOnTest
from tune_gate.audits import Trials
from tune_gate.budget import current_budget
from tune_gate.spec import StudySpec


class MeasurementAudit:
    """A measurement on the test split follows the end of the last trial, and is the only one of its trial."""

    name = "the test split"

    def __init__(self, spec: StudySpec, trials: Trials) -> None:
        self._confirms = spec.confirm is not None
        self._trials = trials
        self._wanted = current_budget(spec, ()).trials

    def see(self, event: Event) -> Iterator[str]:
        """Say what is wrong with `event`, and take it in."""
        if isinstance(event, BudgetExtended):
            self._wanted = event.trials
        if isinstance(event, MeasuredOnTest):
            yield from self._measured(event)

    def _measured(self, event: MeasuredOnTest) -> Iterator[str]:
        trial = self._trials.get(event.trial)
        if not self._confirms:
            yield f"trial {event.trial} was measured on the test split in a search"
        if trial is None or trial.state != "completed":
            yield f"trial {event.trial} was measured on the test split, and had not completed"
            return
        if trial.measured is not None:
            yield f"trial {event.trial} was measured on the test split a second time"
        if event.epoch != trial.epoch:
            yield f"trial {event.trial} was measured at epoch {event.epoch}, and ended at {trial.epoch}"
        left = self._wanted - sum(other.ended for other in self._trials.values())
        if left > 0:
            yield f"trial {event.trial} was measured on the test split while {left} trials were left to train"
