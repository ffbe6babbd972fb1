"""Random SIGKILLs of every process of a search, over many small studies, and what became of the studies.

    python -m tests.faults.campaign --kills local=140 multi-node=60 --seed 0 --lanes 3 --report tests/faults/REPORT.md

A study with one trial at a time must end event by event like one that nobody disturbed. With several at a time no
report may be lost or doubled, every decision must be the one that a fold of the log gives, and the number of trials
must be exactly what was asked for. The report is written anew after every study.
"""

from __future__ import annotations

import argparse
import queue
import random
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis.files import write_atomic
from tests.faults.studies import SEEDS, FaultStudy, undisturbed
from tests.faults.tally import Campaign, Tally, report_text

KINDS = ("local", "multi-node")

#: A study is killed so often, unless fewer kills are left.
KILLS_PER_STUDY = 8


def planned(campaign: Campaign, root: Path) -> Iterator[FaultStudy]:
    """The studies that make the kills asked for, the kinds in turn, each with a generator of its own."""
    left = dict(campaign.wanted)
    number = 0
    while any(left.values()):
        kind = max(left, key=lambda name: left[name] / max(1, campaign.wanted[name]))
        kills = min(KILLS_PER_STUDY, left[kind])
        left[kind] -= kills
        yield FaultStudy(
            folder=root / f"study-{number:03d}",
            kind=kind,
            seed=number // 2 % SEEDS,
            concurrency=3 if kind == "multi-node" else 1 + number % 2,
            kills=kills,
            generator=random.Random(f"{campaign.seed}/{number}"),
        )
        number += 1


def run(campaign: Campaign, root: Path, lanes: int, report: Path | None) -> None:
    """Run all studies, so many at a time. A study that fails keeps its folder, and the others go on."""
    wholes = {seed: undisturbed(seed, root) for seed in range(SEEDS)}
    studies: queue.Queue[FaultStudy] = queue.Queue()
    for study in planned(campaign, root):
        studies.put(study)
    counting = threading.Lock()

    def lane() -> None:
        while True:
            try:
                study = studies.get_nowait()
            except queue.Empty:
                return
            try:
                tally = study.run(wholes[study.seed] if study.concurrency == 1 else None)
            except Exception:  # noqa: BLE001  an error of the campaign itself belongs in its report
                tally = study.tally
                tally.failures.append(f"{study.folder.name}: the campaign failed: {traceback.format_exc(limit=3)}")
            with counting:
                campaign.tallies.setdefault(study.kind, Tally()).add(tally)
                tell(campaign, study, report)

    threads = [threading.Thread(target=lane) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def tell(campaign: Campaign, study: FaultStudy, report: Path | None) -> None:
    """Say where the campaign stands."""
    total = campaign.total
    print(f"{total.made} kills, {total.studies} studies, clean: {total.clean}; {study.folder.name}", flush=True)
    for failure in study.tally.failures:
        print(f"FAILED: {failure}", flush=True)
    if report is not None:
        write_atomic(report, report_text(campaign))


def parse_kills(text: str) -> tuple[str, int]:
    """`local=140` as a kind and a number."""
    kind, _, number = text.partition("=")
    if kind not in KINDS or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND=NUMBER with one of the kinds {', '.join(KINDS)}")
    return kind, int(number)


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign from the command line; exit 1 if anything was lost, doubled, wrong or different."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=parse_kills, nargs="*", default=[("local", 140), ("multi-node", 60)])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=3, help="studies at a time")
    parser.add_argument("--report", type=Path)
    given: Any = parser.parse_args(arguments)
    command = " ".join(["python -m tests.faults.campaign", *(sys.argv[1:] if arguments is None else arguments)])
    campaign = Campaign(given.seed, dict(given.kills), command)
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    run(campaign, root, given.lanes, given.report)
    if campaign.clean:
        import shutil

        shutil.rmtree(root)
    print(report_text(campaign))
    return 0 if campaign.clean else 1


if __name__ == "__main__":
    sys.exit(main())
