"""What a check of a machine found, and what it says where the check itself went wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: `warn`: a search runs, but may suffer. `FAIL`: it does not run, or cannot be trusted.
Verdict = Literal["ok", "warn", "FAIL"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line about a machine."""

    verdict: Verdict
    message: str  # what was found; where it is not ok, what to do


#: A check looks at the machine, and at the folder in which studies are to lie, which exists.
Check = Callable[[Path], Finding]


def examine(checks: Mapping[str, Check], folder: Path) -> dict[str, Finding]:
    """What each check finds, by its name. One that raises has failed, with its reason."""
    return {name: _examined(check, folder) for name, check in checks.items()}


def _examined(check: Check, folder: Path) -> Finding:
    try:
        return check(folder)
    except Exception as error:  # noqa: BLE001  whatever is wrong with a machine is what a doctor is asked for
        lines = str(error).splitlines() or ["no reason given"]
        return Finding("FAIL", f"could not be checked ({type(error).__name__}: {lines[0]}); mend that first")
