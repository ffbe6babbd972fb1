"""The words of `why`: a judgement at a rung, a failure and a cost as lines of text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from analysis.wording import counted

if TYPE_CHECKING:
    from analysis.explanations import Failure, Judgement, Spent

#: Peers that the words name; the record has them all.
_NAMED = 8

_VERDICTS = {"stop": "stopped", "interrupt": "let pass as the search was interrupted", "pause": "paused"}

_FAILED = {"lost": "was lost", "preempted": "lost its node", "unfit": "could not use its device"}


def judgement_lines(judgement: Judgement, metric: str) -> list[str]:
    """What a rung decided, against whom, and what it would say now."""
    then, now = judgement.then, judgement.now
    if then.survivors == 0:
        rule = "too few values to promote anybody"
    elif then.survivors == then.peers:
        rule = "too few values to stop anybody"
    else:
        rule = f"the best {then.survivors} went on, cutoff {then.cutoff:.4f}{_gap_words(judgement)}"
    value = f"{judgement.value:.4f}{_probe_words(judgement)}"
    lines = [
        f"rung {judgement.rung}: {metric} {value}, rank {then.rank} of {then.peers}; {rule}: "
        f"{_VERDICTS.get(judgement.action, 'went on')}{_turn_words(judgement)}",
        *_peer_lines(judgement),
    ]
    if now.peers == then.peers:
        return [*lines, "  the same rung now: as then, no other trial has reached it since"]
    if now.survivors == 0:
        return [*lines, f"  the same rung now: rank {now.rank} of {now.peers}; still too few to promote anybody"]
    otherwise = "pause" if judgement.pauses else "be stopped"
    would = "go on" if now.passes else otherwise
    return [
        *lines,
        f"  the same rung now: rank {now.rank} of {now.peers}; the best {now.survivors} go on, cutoff "
        f"{now.cutoff:.4f}: it would {would}",
    ]


def failure_line(failure: Failure) -> str:
    """How an attempt failed."""
    what = _FAILED.get(failure.kind, "failed")
    return f"attempt {failure.attempt} {what} after epoch {failure.after_epoch}: {failure.message}"


def spent_line(spent: Spent) -> str:
    """What a trial cost."""
    redone = f" ({spent.redone_epochs} of them done over)" if spent.redone_epochs else ""
    return (
        f"spent: {counted(spent.epochs, 'epoch')}{redone} in {counted(spent.attempts, 'attempt')}, {spent.hours:.3g} h "
        f"of training; held {spent.held:.3g} {spent.unit}"
    )


def _turn_words(judgement: Judgement) -> str:
    """What became of a trial that paused."""
    turn = judgement.turn
    if turn is None:
        return ""
    place = f"rank {turn.standing.rank} of {turn.standing.peers}"
    if turn.kind == "retired":
        return f", and never promoted: {place} when the search ended"
    if turn.standing.passes:
        return f", and promoted later: {place}"
    return f", and promoted later, when nothing else was left to do: {place}"


def _probe_words(judgement: Judgement) -> str:
    if math.isnan(judgement.plain):
        return ""
    return f" after a cool-down (the probe that the rung compares; {judgement.plain:.4f} without it)"


def _gap_words(judgement: Judgement) -> str:
    gap = judgement.value - judgement.then.cutoff
    if not gap:
        return " (its own)"
    words = f"{abs(gap):.4f} {'above' if gap > 0 else 'below'} it"
    if math.isnan(judgement.gap_errors):
        return f", {words}"
    return f", {words} or {abs(judgement.gap_errors):.1f} standard errors of the difference"


def _peer_lines(judgement: Judgement) -> list[str]:
    lines = []
    better = [(trial, value) for trial, value in judgement.peers if value > judgement.value]
    others = [(trial, value) for trial, value in judgement.peers if value <= judgement.value]
    for words, peers in (("better", better), ("not better", others)):
        if peers:
            named = ", ".join(f"trial {trial} ({value:.4f})" for trial, value in peers[:_NAMED])
            more = f" and {len(peers) - _NAMED} more" if len(peers) > _NAMED else ""
            lines.append(f"  {words} there before it: {named}{more}")
    return lines
