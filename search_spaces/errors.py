"""What can go wrong while a search space is described or a point of it is checked.

Every message is one line that says what is wrong, where, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SpaceError(ValueError):
    """A dimension, a space or a point of it is ill-formed; shown to the user without a traceback."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> str:
    """One line that says `name` is no known `kind`, with the nearest known name where one is near."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
    return f"unknown {kind} {str(name)!r}; {hint}"
