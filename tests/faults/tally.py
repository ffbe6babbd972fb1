"""What a campaign has counted, and the report that it writes of it."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.faults.flavours import FLAVOURS
from tests.faults.traced import EPOCH_SECONDS, PROBE_SECONDS
from tune_gate.study_dir import versions


@dataclass
class Tally:
    """What was seen of the studies of one kind (or of all)."""

    kills: Counter[str] = field(default_factory=Counter)  # by the process that was killed
    flavours: Counter[str] = field(default_factory=Counter)  # studies, by what they differ in
    inside: Counter[str] = field(default_factory=Counter)  # strikes, by what was under way
    strikes: int = 0  # moments at which processes were killed, one or several at once
    studies: int = 0
    one_at_a_time: int = 0  # of them, those that were compared with an undisturbed one
    resumes: int = 0  # commands after a supervisor had gone
    gave_up: int = 0  # of them, those after a command that had ended by itself
    restarts: int = 0  # sessions that a supervisor started after another had died
    wanted: int = 0  # trials
    trials: int = 0
    reports: int = 0
    probes: int = 0  # reports that hold a probe
    lost: int = 0  # trials that are missing, epochs that are missing between those reported, and probes of these
    doubled: int = 0  # reports of an epoch that was reported before
    wrong_decisions: int = 0
    different: int = 0  # one-at-a-time studies whose events are not those of the undisturbed one
    differences: int = 0  # that `verify` finds
    redone_seconds: list[float] = field(default_factory=list)  # for each strike
    failures: list[str] = field(default_factory=list)

    @property
    def made(self) -> int:
        """Kills of all kinds."""
        return sum(self.kills.values())

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, doubled, wrongly decided or different, and every study ended."""
        wrong = self.lost + self.doubled + self.wrong_decisions + self.different + self.differences
        return not wrong and not self.failures

    def add(self, other: Tally) -> None:
        """Take in what was counted elsewhere."""
        for name, value in vars(other).items():
            if isinstance(value, Counter):
                getattr(self, name).update(value)
            elif isinstance(value, list):
                getattr(self, name).extend(value)
            else:
                setattr(self, name, getattr(self, name) + value)


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How one case ended."""

    name: str
    about: str
    seconds: float
    error: str = ""  # empty where it held


@dataclass
class Campaign:
    """Everything that a report says."""

    seed: int
    wanted: dict[str, int]  # kills by kind of study
    command: str
    started: float = field(default_factory=time.time)
    further: list[str] = field(default_factory=list)  # the commands of further runs that count to this one
    tallies: dict[str, Tally] = field(default_factory=dict)
    cases: list[CaseResult] = field(default_factory=list)

    @property
    def total(self) -> Tally:
        """All kinds together."""
        total = Tally()
        for tally in self.tallies.values():
            total.add(tally)
        return total

    @property
    def clean(self) -> bool:
        """Whether every count of what must not be is zero."""
        return self.total.clean and not any(case.error for case in self.cases)

    @property
    def complete(self) -> bool:
        """Whether all the kills that were asked for were made."""
        return all(self.tallies.get(kind, Tally()).made >= kills for kind, kills in self.wanted.items())


_MOMENTS = (("epoch", "an epoch"), ("probe", "a probe"), ("measuring run", "the measuring run of `resources: auto`"))

#: The rows of the table of counts: a heading, and what is shown of a tally.
_ROWS = (
    ("strikes, each of one to three kills at once", lambda t: t.strikes),
    *((f"… while {words} was under way", lambda t, moment=moment: t.inside[moment]) for moment, words in _MOMENTS),
    ("studies", lambda t: t.studies),
    *((f"… of the flavour {name}", lambda t, name=name: t.flavours[name]) for name in FLAVOURS),
    ("… of them with one trial at a time, compared with an undisturbed one", lambda t: t.one_at_a_time),
    ("sessions that a supervisor started after a death", lambda t: t.restarts),
    ("`resume` (or `launch` anew) after a supervisor's death", lambda t: t.resumes),
    ("… where the command had ended by itself", lambda t: t.gave_up),
    ("trials asked for", lambda t: t.wanted),
    ("trials in the logs", lambda t: t.trials),
    ("epochs reported", lambda t: t.reports),
    ("… with a probe", lambda t: t.probes),
    ("**lost**: trials, epochs or probes missing", lambda t: t.lost),
    ("**doubled**: epochs reported twice", lambda t: t.doubled),
    ("**wrong decisions**: not those of a fold of the log", lambda t: t.wrong_decisions),
    ("one-at-a-time studies that differ from the undisturbed one", lambda t: t.different),
    ("differences that `tune-gate verify` finds", lambda t: t.differences),
    ("studies that failed", lambda t: len(t.failures)),
)


def report_text(campaign: Campaign) -> str:
    """The report, as Markdown."""
    total = campaign.total
    columns = {**campaign.tallies, "all": total}
    found = versions()
    state = "" if campaign.complete else " **The campaign has not made all its kills yet.**"
    targets = sorted({target for tally in columns.values() for target in tally.kills})
    lines = [
        "# Fault campaign",
        "",
        f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(campaign.started))}, seed {campaign.seed}, "
        f"{(time.time() - campaign.started) / 60:.0f} min on {os.cpu_count()} cores; tune-gate {found['tune-gate']}, "
        f"Python {found['python']}, Ray {found['ray']}, Optuna {found['optuna']}, {platform.system()}.",
        *_written_by(campaign, state),
        "",
        "Every number is counted from the studies' logs, from what `tune-gate verify` says of them, and from a trace "
        "that the workers leave beside their checkpoints.",
        "",
        _row("", *columns),
        _row(":---", *("---:" for _ in columns)),
        _row("SIGKILLs", *(tally.made for tally in columns.values())),
        *(_row(f"… of the {target}", *(tally.kills[target] for tally in columns.values())) for target in targets),
        *(_row(name, *(show(tally) for tally in columns.values())) for name, show in _ROWS),
        *_redone(columns),
        "",
        f"An epoch lasts {EPOCH_SECONDS:g} s here, a probe {PROBE_SECONDS:g} s. Work redone: the seconds for which "
        "epochs had been trained and probed that no report acknowledged when the strike came.",
        "",
        *_failures(total),
        *_cases(campaign.cases),
    ]
    return "\n".join(lines)


def _written_by(campaign: Campaign, state: str) -> list[str]:
    if not campaign.further:
        return [f"Written by `{campaign.command}`.{state}"]
    commands = (campaign.command, *campaign.further)
    return [f"Written by {len(commands)} runs of the campaign.{state}", "", *(f"- `{command}`" for command in commands)]


def _redone(columns: dict[str, Tally]) -> list[str]:
    measures = (("median", 0.5), ("95 %", 0.95), ("largest", 1.0))
    return [
        _row(
            f"seconds of work redone per strike, {name}",
            *(f"{quantile(tally.redone_seconds, share):.3f}" for tally in columns.values()),
        )
        for name, share in measures
    ]


def quantile(values: list[float], share: float) -> float:
    """The smallest of `values` that so large a share of them does not exceed; NaN of none."""
    if not values:
        return float("nan")
    if share == 0.5:
        return statistics.median(values)
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.499999) - 1))]


def _failures(total: Tally) -> list[str]:
    if not total.failures:
        return []
    return ["## Failures", "", *(f"- {failure}" for failure in total.failures), ""]


def _cases(cases: list[CaseResult]) -> list[str]:
    if not cases:
        return []
    held = sum(not case.error for case in cases)
    return [
        "## Cases",
        "",
        f"{held} of {len(cases)} held.",
        "",
        _row("case", "what must hold", "seconds", "result"),
        _row(":---", ":---", "---:", ":---"),
        *(_row(c.name, c.about, f"{c.seconds:.0f}", c.error or "held") for c in sorted(cases, key=lambda c: c.name)),
        "",
    ]


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"
