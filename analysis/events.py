"""The facts that a study's log records, one frozen type per kind of event.

A report and the decision on it are *one* event, so neither can exist without the other. How events are written is told
in `analysis.event_records`.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

#: Metrics that a report has beside its own where a decayed probe branched off after its epoch: the accuracy at the end
#: of the cool-down, which is what a rung of such a study compares; and the seconds that it took.
PROBE_VALUE = "probe_val_acc"
PROBE_SECONDS = "probe_seconds"

#: What happens to a trial after a report. `interrupt`: the search is stopping, the trial will go on later. `pause`:
#: it goes on if it is promoted.
Action = Literal["continue", "stop", "complete", "diverge", "interrupt", "pause"]

ACTIONS: frozenset[str] = frozenset(get_args(Action))

#: How an attempt at a trial can fail: an exception in it, the loss of its process, or that of its node, which says
#: nothing about the trial; or it was given a device that it cannot use, which no further attempt would mend.
FailureKind = Literal["error", "lost", "preempted", "unfit"]

#: What became of a trial that another study takes over as history; one that had not ended counts as stopped.
InheritedState = Literal["completed", "stopped", "diverged"]

INHERITED_STATES: frozenset[str] = frozenset(get_args(InheritedState))

#: How a session can end in good order.
EndReason = Literal["finished", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class RungEntry:
    """A trial's standing at a rung, at the moment of the decision."""

    milestone: int  # the rung's epoch
    value: float  # the trial's metric at that epoch, or that of its probe where the study takes probes
    cutoff: float  # the lowest value that goes on
    rank: int  # 1 is the best
    peers: int  # values at the rung, this one included
    survivors: int  # how many of them may go on


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """A driver took hold of the study."""

    kind: ClassVar[str] = "session_started"
    time: float  # Unix time, seconds; so in every event
    session: int  # 1 for the launch, one more for each resume
    host: str
    pid: int
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrialSuggested:
    """A new trial exists; it has not started yet."""

    kind: ClassVar[str] = "trial_suggested"
    time: float
    trial: int  # counted from 1
    settings: Mapping[str, Any]  # a point of the search space
    seed: int  # of initialisation, sample order and augmentation
    source: str  # who suggested it: default, first, random, tpe, grid; in a confirmation, the configuration's name


@dataclass(frozen=True, slots=True)
class TrialInherited:
    """A trial of an earlier study that fits this one's space: history for the sampler, and no trial of this study.

    These events are the first of a log; a study that was begun without history has none.
    """

    kind: ClassVar[str] = "trial_inherited"
    time: float
    study: str  # the folder of the study that ran it
    source_trial: int  # its number there
    settings: Mapping[str, Any]  # as a point of this study's space
    state: InheritedState
    epochs: int  # of a trial there that was never stopped
    values: tuple[tuple[int, float], ...]  # (epoch, metric), ascending: at the rungs of both studies, and the last


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """A trial was handed to a worker; its reports go on after `from_epoch`."""

    kind: ClassVar[str] = "attempt_started"
    time: float
    trial: int
    attempt: int  # counted from 1 within the trial
    from_epoch: int  # the last epoch reported before; 0 for a fresh start


@dataclass(frozen=True, slots=True)
class EpochReported:
    """One epoch of one trial, and the decision that was taken on it."""

    kind: ClassVar[str] = "epoch"
    time: float
    trial: int
    attempt: int
    epoch: int  # counted from 1
    metrics: Mapping[str, float]
    action: Action
    rung: RungEntry | None = None  # where the epoch is a rung's milestone


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt ended without a decision. The trial is tried again unless `TrialFailed` follows."""

    kind: ClassVar[str] = "attempt_failed"
    time: float
    trial: int
    attempt: int
    failure: FailureKind
    message: str  # one line
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class TrialFailed:
    """A trial was given up."""

    kind: ClassVar[str] = "trial_failed"
    time: float
    trial: int
    reason: str


@dataclass(frozen=True, slots=True)
class TrialPromoted:
    """A trial that paused at a rung goes on."""

    kind: ClassVar[str] = "trial_promoted"
    time: float
    trial: int
    milestone: int  # the rung where it paused, epochs


@dataclass(frozen=True, slots=True)
class TrialRetired:
    """A trial that paused at a rung never goes on: the search has nothing left to do, and others were better."""

    kind: ClassVar[str] = "trial_retired"
    time: float
    trial: int
    milestone: int


@dataclass(frozen=True, slots=True)
class MeasuredOnTest:
    """A completed trial of a confirmation was measured on the test split: once, after the last choice was made."""

    kind: ClassVar[str] = "measured_on_test"
    time: float
    trial: int
    epoch: int  # whose model was measured: the last
    metrics: Mapping[str, float]  # test_acc (a fraction), test_loss (nats), test_images; of a gated model also
    # test_acc_shallow, test_acc_deep and test_gate_mean


@dataclass(frozen=True, slots=True)
class BudgetExtended:
    """The study was given more trials, more epochs, or both. Trials that had completed go on if the epochs grew."""

    kind: ClassVar[str] = "budget_extended"
    time: float
    trials: int  # in all
    epochs: int  # of a trial that is never stopped
    rungs: tuple[int, ...]  # all of them: the old ones, and new ones above


@dataclass(frozen=True, slots=True)
class SpecChanged:
    """Settings of the study were changed that do not change what a trial is: resources, checkpoints, failures."""

    kind: ClassVar[str] = "spec_changed"
    time: float
    settings: Mapping[str, Any]  # new values by dotted key


@dataclass(frozen=True, slots=True)
class ResourcesChosen:
    """What each trial is given was left to the search (`resources: auto`), which has measured and chosen."""

    kind: ClassVar[str] = "resources_chosen"
    time: float
    settings: Mapping[str, Any]  # new values by dotted key
    node: str  # where it was measured
    reason: str  # one line
    measured: Sequence[Mapping[str, Any]] = ()  # trials side by side: what each was given, seconds, bytes; or a reason


@dataclass(frozen=True, slots=True)
class CodeAccepted:
    """The study goes on although the code behind its trials has changed."""

    kind: ClassVar[str] = "code_accepted"
    time: float
    files: Mapping[str, str | None]  # the files that changed, with their new fingerprints; None: it is gone


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that a reader of the study should know."""

    kind: ClassVar[str] = "warned"
    time: float
    message: str
    trial: int | None = None


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A driver let go of the study in good order; a session without this event was killed."""

    kind: ClassVar[str] = "session_ended"
    time: float
    session: int
    reason: EndReason
    message: str = ""


Event = (
    SessionStarted
    | TrialInherited
    | TrialSuggested
    | AttemptStarted
    | EpochReported
    | AttemptFailed
    | TrialFailed
    | TrialPromoted
    | TrialRetired
    | MeasuredOnTest
    | BudgetExtended
    | SpecChanged
    | ResourcesChosen
    | CodeAccepted
    | Warned
    | SessionEnded
)


def is_about(event: Event, trials: Container[int]) -> bool:
    """Whether `event` is about one of these trials, or about none in particular."""
    trial = getattr(event, "trial", None)
    return trial is None or trial in trials
