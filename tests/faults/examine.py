"""What became of a study that was killed again and again: counted from its log, from `verify`, and from its traces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.events import (
    PROBE_VALUE,
    EpochReported,
    Event,
    ResourcesChosen,
    SessionStarted,
    TrialPromoted,
    TrialRetired,
    TrialSuggested,
)
from analysis.log import LOG_FILE, read_log
from analysis.trials import Trial, fold_trials
from tests.faults.flavours import TRIALS
from tests.faults.processes import MEASURED, left_over
from tests.faults.tally import Tally
from tests.faults.traced import EPOCH_SECONDS, PROBE_SECONDS, TRACE, read_trace
from tune_gate.schedulers import Scheduler, build_scheduler
from tune_gate.spec import StudySpec, study_spec
from tune_gate.study_dir import checkpoint_folder
from tune_gate.verify import verify_study

#: So long a measured trial may outlive the search that asked for it.
ORPHAN_SECONDS = 20.0


def examine(folder: Path, spec: dict[str, Any], struck: Sequence[float], tally: Tally) -> list[Event]:
    """Add to `tally` what the finished study in `folder` says, which was struck at these times; its events."""
    events = read_log(folder / LOG_FILE)
    trials = fold_trials(events)
    reports = [event for event in events if isinstance(event, EpochReported)]
    seen = Counter((report.trial, report.epoch) for report in reports)
    typed = study_spec(spec)
    tally.studies += 1
    tally.restarts += sum(isinstance(event, SessionStarted) for event in events) - 1 - tally.resumes
    tally.wanted += TRIALS
    tally.trials += len(trials)
    tally.reports += len(reports)
    tally.probes += sum(PROBE_VALUE in report.metrics for report in reports)
    tally.doubled += sum(count - 1 for count in seen.values())
    tally.lost += abs(TRIALS - len(trials)) + probes_missing(typed, reports)
    for trial in trials.values():
        tally.lost += len(set(range(1, trial.epoch + 1)) - {epoch for number, epoch in seen if number == trial.number})
        if trial.state == "failed":
            tally.failures.append(f"{folder.name}: trial {trial.number} was given up: {trial.reason}")
    tally.wrong_decisions += wrong_decisions(spec, events)
    differences = verify_study(folder).differences
    tally.differences += len(differences)
    tally.failures += [f"{folder.name}: verify: {difference}" for difference in differences]
    tally.failures += [f"{folder.name}: {problem}" for problem in measuring_problems(typed, events)]
    tally.failures += [f"{folder.name}: {MEASURED} {pid} was left over" for pid in left_over(folder, ORPHAN_SECONDS)]
    tally.redone_seconds += redone(folder, trials, reports, struck)
    return events


def probes_missing(spec: StudySpec, reports: Sequence[EpochReported]) -> int:
    """Reports at probed epochs without their probe."""
    probed = spec.scheduler.probed(spec.milestones)
    return sum(report.epoch in probed and PROBE_VALUE not in report.metrics for report in reports)


def wrong_decisions(spec: dict[str, Any], events: Sequence[Event]) -> int:
    """Recorded decisions that a fold of the log would not have taken; an interrupted trial was to go on."""
    scheduler = build_scheduler(study_spec(spec))
    wrong = 0
    for event in events:
        match event:
            case EpochReported():
                decision = scheduler.decide(event.trial, event.epoch, event.metrics)
                action = "continue" if event.action == "interrupt" else event.action
                wrong += (decision.action, decision.rung) != (action, event.rung)
            case TrialPromoted():
                wrong += event.trial != next_promotion(scheduler)
            case TrialRetired():
                wrong += next_promotion(scheduler) is not None
            case _:
                pass
        scheduler.apply(event)
    return wrong


def next_promotion(scheduler: Scheduler) -> int | None:
    """The paused trial that goes on, now or when nothing else is left to do."""
    found = scheduler.promotion()
    return scheduler.last_promotion() if found is None else found


def measuring_problems(spec: StudySpec, events: Sequence[Event]) -> list[str]:
    """Where the search chose its trials' resources: once, and before the first trial. Elsewhere: never."""
    choices = [place for place, event in enumerate(events) if isinstance(event, ResourcesChosen)]
    first = next((place for place, event in enumerate(events) if isinstance(event, TrialSuggested)), len(events))
    wanted = int(bool(spec.resources.auto))
    if len(choices) != wanted:
        return [f"resources were chosen {len(choices)} times, not {wanted}"]
    return ["resources were chosen after the first trial began"] if choices and choices[0] > first else []


def redone(
    folder: Path, trials: dict[int, Trial], reports: Sequence[EpochReported], struck: Sequence[float]
) -> list[float]:
    """For each strike, the seconds for which epochs had been trained and probed that were never acknowledged.

    What was begun after a kill (a worker outlives its driver) counts to that strike, else to the next one.
    """
    found = [0.0] * len(struck)
    acknowledged = {(report.trial, report.attempt, report.epoch) for report in reports}
    for number in trials:
        for (attempt, epoch), (start_time, end_time) in _spans(checkpoint_folder(folder, number) / TRACE).items():
            if (number, attempt, epoch) in acknowledged or not found:
                continue
            following = [i for i, moment in enumerate(struck) if moment >= start_time]
            kill = following[0] if following else len(found) - 1
            found[kill] += max(0.0, min(end_time, struck[kill]) - start_time) or end_time - start_time
    return found


def _spans(trace: Path) -> dict[tuple[int, int], tuple[float, float]]:
    """By attempt and epoch, when the work on it began and ended; of one that was cut off, when it would have."""
    begun: dict[tuple[int, int], float] = {}
    ends: dict[tuple[int, int], float] = {}
    for line in read_trace(trace):
        place = (line["attempt"], line["epoch"])
        match line["what"]:
            case "begun":
                begun[place], ends[place] = line["time"], line["time"] + EPOCH_SECONDS
            case "probing":
                ends[place] = line["time"] + PROBE_SECONDS
            case "saved":
                ends[place] = line["time"]
            case _:  # it had come, and was held
                pass
    return {place: (moment, ends[place]) for place, moment in begun.items()}
