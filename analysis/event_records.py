"""Events as the log has them: one JSON object in one line, with the event's fields, and `event`, the kind.

A number that is not finite is written as null.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from analysis.events import (
    ACTIONS,
    INHERITED_STATES,
    AttemptFailed,
    AttemptStarted,
    BudgetExtended,
    CodeAccepted,
    EpochReported,
    Event,
    MeasuredOnTest,
    ResourcesChosen,
    RungEntry,
    SessionEnded,
    SessionStarted,
    SpecChanged,
    TrialFailed,
    TrialInherited,
    TrialPromoted,
    TrialRetired,
    TrialSuggested,
    Warned,
)

#: Version of the log's format; a reader refuses every other.
SCHEMA = 1

EVENTS: Mapping[str, type[Event]] = {
    kind.kind: kind
    for kind in (
        SessionStarted,
        TrialInherited,
        TrialSuggested,
        AttemptStarted,
        EpochReported,
        AttemptFailed,
        TrialFailed,
        TrialPromoted,
        TrialRetired,
        MeasuredOnTest,
        BudgetExtended,
        SpecChanged,
        ResourcesChosen,
        CodeAccepted,
        Warned,
        SessionEnded,
    )
}


def shared_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` whose names are the same objects as in all others: JSON makes new ones each time it is read."""
    return {sys.intern(name): value for name, value in settings.items()}


def event_to_record(event: Event) -> dict[str, Any]:
    """The JSON object of an event."""
    record: dict[str, Any] = {"event": event.kind}
    for name in (part.name for part in fields(event)):
        value = getattr(event, name)
        if name == "metrics":
            value = {key: number if math.isfinite(number) else None for key, number in value.items()}
        elif isinstance(value, RungEntry):
            value = {part.name: getattr(value, part.name) for part in fields(value)}
        elif name == "rung":
            continue  # absent where there is none: most epochs are no milestone
        record[name] = value
    return record


def event_from_record(record: Mapping[str, Any]) -> Event | None:
    """The event of a JSON object, or None where its kind is not known to this version.

    Raises:
        KeyError, TypeError: the object is no event of its kind (the log's reader turns this into `LogCorrupt`).
    """
    values = dict(record)
    kind = EVENTS.get(values.pop("event"))
    if kind is None:
        return None
    if "settings" in values:
        values["settings"] = shared_names(values["settings"])
    if kind in (EpochReported, MeasuredOnTest):
        values["metrics"] = {
            sys.intern(key): math.nan if number is None else number for key, number in values["metrics"].items()
        }
    if kind is EpochReported:
        if values["action"] not in ACTIONS:
            raise TypeError(f"no action {values['action']!r}")
        if "rung" in values:
            values["rung"] = RungEntry(**values["rung"])
    if kind is TrialInherited:
        if values["state"] not in INHERITED_STATES:
            raise TypeError(f"no state {values['state']!r}")
        values["values"] = tuple((int(epoch), float(value)) for epoch, value in values["values"])
    if kind is BudgetExtended:
        values["rungs"] = tuple(values["rungs"])
    return kind(**values)
