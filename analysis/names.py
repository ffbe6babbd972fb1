"""Unknown names, answered with the nearest known one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from analysis.errors import AnalysisError


class UnknownName(AnalysisError):  # noqa: N818
    """A format, trial or column was asked for that does not exist."""


def unknown_name(kind: str, name: object, known: Iterable[object]) -> UnknownName:
    """The error that says `name` is no known `kind` and names the nearest known one, where one is near."""
    names = [str(each) for each in known]
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {_listed(names)}"
    return UnknownName(f"unknown {kind} {str(name)!r}; {hint}")


def _listed(names: list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:3])}, …, {names[-1]}"
