"""What a confirmation confirms: the configurations that it trains anew, as its study.json tells them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: What a configuration can be in a confirmation. `top`: one of the best of the search, below the runner-up;
#: `default`: the search's plain default; `control`: the winner's trunk settings without any gate.
ROLES = ("winner", "runner-up", "top", "default", "control")


@dataclass(frozen=True, slots=True)
class Arm:
    """One configuration of a confirmation."""

    name: str  # "trial 7", "default", "control"; unique
    roles: tuple[str, ...]  # of ROLES; the default, for example, may be the runner-up
    trial: int | None  # of the search; None where it never ran there
    promised: float | None  # validation accuracy at the best epoch of that trial, a fraction
    settings: Mapping[str, Any]  # a point of the study's space


@dataclass(frozen=True, slots=True)
class Confirmation:
    """That a study is a confirmation, and of what."""

    source: str  # the folder of the search
    source_name: str
    seeds: int  # of each configuration, when it was made
    arms: tuple[Arm, ...]  # the winner first; in the order of the search's ranking

    def arm_of(self, trial: int) -> Arm:
        """The configuration of a trial of the confirmation; trials go round all of them, seed by seed."""
        return self.arms[(trial - 1) % len(self.arms)]

    def replicate_of(self, trial: int) -> int:
        """Which of its configuration's seeds a trial has, counted from 1: trials of one replicate share their seed."""
        return (trial - 1) // len(self.arms) + 1

    def with_role(self, role: str) -> Arm | None:
        """The configuration of that role."""
        return next((arm for arm in self.arms if role in arm.roles), None)


def confirmation_of(record: Mapping[str, Any] | None) -> Confirmation | None:
    """The section `confirm` of a spec; None where it has none.

    Raises:
        KeyError, TypeError, ValueError: it is no such section (the reader of study.json says so).
    """
    if record is None:
        return None
    arms = tuple(
        Arm(str(arm["name"]), tuple(arm["roles"]), arm.get("trial"), arm.get("promised"), dict(arm["settings"]))
        for arm in record["arms"]
    )
    return Confirmation(str(record["source"]), str(record["source_name"]), int(record["seeds"]), arms)
