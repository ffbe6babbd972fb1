"""What runs of the campaign have counted: a line of JSON for each run, study and case. The report is a fold over them.

Several runs may add to one file at once, such as one that kills and one that plays the cases.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.faults.tally import Campaign, CaseResult, Tally


def records_of(report: Path) -> Path:
    """Where the records of a report lie."""
    return report.with_suffix(".jsonl")


def add_run(path: Path, campaign: Campaign) -> None:
    """Note that a run has begun."""
    _add(
        path,
        {"run": {"seed": campaign.seed, "wanted": campaign.wanted, "command": campaign.command,
                 "started": campaign.started}},
    )  # fmt: skip


def add_tally(path: Path, kind: str, tally: Tally) -> None:
    """Note what became of a study of that kind."""
    _add(path, {"study": kind, "tally": vars(tally)})


def add_case(path: Path, result: CaseResult) -> None:
    """Note how a case ended; it takes the place of what was noted of that case before."""
    _add(path, {"case": asdict(result)})


def _add(path: Path, record: dict[str, Any]) -> None:
    line = json.dumps(record, ensure_ascii=False) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())  # one call, so that lines of several runs do not mix
    finally:
        os.close(descriptor)


def read_records(path: Path) -> Campaign:
    """All runs as one campaign, of the first one's seed and date.

    Raises:
        ValueError: the file does not begin with a run.
    """
    campaign: Campaign | None = None
    cases: dict[str, CaseResult] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if "run" in record and campaign is None:
            campaign = Campaign(**record["run"])
        elif campaign is None:
            raise ValueError(f"{path} does not begin with a run")
        elif "run" in record:
            campaign.further.append(record["run"]["command"])
            for kind, kills in record["run"]["wanted"].items():
                campaign.wanted[kind] = campaign.wanted.get(kind, 0) + kills
        elif "case" in record:
            result = CaseResult(**record["case"])
            cases[result.name] = result
        else:
            counted = {
                name: Counter(value) if isinstance(value, dict) else value for name, value in record["tally"].items()
            }
            campaign.tallies.setdefault(record["study"], Tally()).add(Tally(**counted))
    if campaign is None:
        raise ValueError(f"{path} is empty")
    campaign.cases = list(cases.values())
    return campaign
