"""Random SIGKILLs of every process of a search, over many small studies, and what became of the studies.

    python -m tests.faults.campaign --kills local=130 multi-node=80 --seed 0 --lanes 3 --report tests/faults/REPORT.md

A study with one trial at a time must end event by event like one that nobody disturbed. With several at a time no
report may be lost or doubled, every decision must be the one that a fold of the log gives, and the number of trials
must be exactly what was asked for. The report is written anew after every study, from records kept beside it.
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from analysis.files import write_atomic
from tests.faults.cases import CASES, play
from tests.faults.flavours import FLAVOURS, OF_KIND
from tests.faults.records import add_case, add_run, add_tally, read_records, records_of
from tests.faults.studies import SEEDS, FaultStudy, Undisturbed
from tests.faults.tally import Campaign, Tally, report_text

#: A study is killed so often, unless fewer kills are left.
KILLS_PER_STUDY = 10


class Plan:
    """Hands out studies until the kills that were asked for are made: the kinds in turn, and of a kind the flavours;
    then one more trial at a time; then another seed. Each study has its own generator.

    A study may end before all its kills are made; what it leaves goes to a later one.
    """

    def __init__(self, campaign: Campaign, root: Path, flavours: Collection[str] = tuple(FLAVOURS)) -> None:
        self._campaign = campaign
        self._root = root
        self._flavours = {kind: [name for name in OF_KIND[kind] if name in flavours] for kind in OF_KIND}
        self._given: Counter[str] = Counter()  # studies, by kind
        self._left = dict(campaign.wanted)  # kills that no study has been given
        self._number = 0

    def next(self) -> FaultStudy | None:
        """The next study; None where no kills are left to give."""
        wanted = self._campaign.wanted
        kind = max(wanted, key=lambda name: self._left[name] / max(1, wanted[name]), default=None)
        if kind is None or self._left[kind] <= 0:
            return None
        kills = min(KILLS_PER_STUDY, self._left[kind])
        self._left[kind] -= kills
        number, self._number = self._number, self._number + 1
        place = self._given[kind]
        self._given[kind] += 1
        flavours = self._flavours[kind]
        return FaultStudy(
            folder=self._root / f"study-{number:03d}",
            kind=kind,
            flavour=FLAVOURS[flavours[place % len(flavours)]],
            seed=place // (2 * len(flavours)) % SEEDS,
            concurrency=3 if kind == "multi-node" else 1 + place // len(flavours) % 2,
            kills=kills,
            generator=random.Random(f"{self._campaign.seed}/{number}"),
        )

    def give_back(self, study: FaultStudy) -> None:
        """Take back the kills that a study did not make; not of one that failed, or it would go on for ever."""
        if not study.tally.failures:
            self._left[study.kind] += study.kills - study.tally.made


def run(
    campaign: Campaign, root: Path, lanes: int, report: Path | None, flavours: Collection[str] = tuple(FLAVOURS)
) -> None:
    """Run all studies, so many at a time. A study that fails keeps its folder, and the others go on."""
    if report is not None:
        add_run(records_of(report), campaign)
    plan = Plan(campaign, root, flavours)
    undisturbed = Undisturbed(root)
    lock = threading.Lock()

    def lane() -> None:
        while True:
            with lock:
                study = plan.next()
            if study is None:
                return
            try:
                alone = study.concurrency == 1
                tally = study.run(undisturbed.of(study.flavour, study.seed) if alone else None)
            except Exception:  # noqa: BLE001  an error of the campaign itself belongs in its report
                tally = study.tally
                tally.failures.append(f"{study.folder.name}: the campaign failed: {traceback.format_exc(limit=3)}")
            with lock:
                plan.give_back(study)
                campaign.tallies.setdefault(study.kind, Tally()).add(tally)
                tell(campaign, study, report)

    threads = [threading.Thread(target=lane) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def play_cases(campaign: Campaign, names: list[str], root: Path, lanes: int, report: Path | None) -> None:
    """Play the cases of these names, so many at a time."""
    with ThreadPoolExecutor(lanes) as pool:
        for result in pool.map(lambda name: play(CASES[name], root), names):
            campaign.cases.append(result)
            print(f"case {result.name}: {result.error or 'held'} ({result.seconds:.0f} s)", flush=True)
            if report is not None:
                add_case(records_of(report), result)
                write(report)


def write(report: Path) -> None:
    """Write the report as far as it goes."""
    write_atomic(report, report_text(read_records(records_of(report))))


def tell(campaign: Campaign, study: FaultStudy, report: Path | None) -> None:
    """Say where the campaign stands."""
    total = campaign.total
    print(f"{total.made} kills, {total.studies} studies, clean: {total.clean}; {study.folder.name}", flush=True)
    for failure in study.tally.failures:
        print(f"FAILED: {failure}", flush=True)
    if report is not None:
        add_tally(records_of(report), study.kind, study.tally)
        write(report)


def parse_kills(text: str) -> tuple[str, int]:
    """`local=140` as a kind and a number."""
    kind, _, number = text.partition("=")
    if kind not in OF_KIND or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND=NUMBER with one of the kinds {', '.join(OF_KIND)}")
    return kind, int(number)


def main(arguments: list[str] | None = None) -> int:
    """Run the campaign from the command line; exit 1 if anything was lost, doubled, wrong or different."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=parse_kills, nargs="*", default=[("local", 140), ("multi-node", 60)])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=3, help="studies at a time")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--cases", nargs="*", choices=CASES, default=[*CASES], metavar="CASE", help="only these cases")
    parser.add_argument("--flavours", nargs="*", choices=FLAVOURS, default=[*FLAVOURS], help="only such studies")
    parser.add_argument("--without-cases", action="store_true", help="only the random kills")
    parser.add_argument("--append", action="store_true", help="add to what the report's records hold")
    given: Any = parser.parse_args(arguments)
    command = shlex.join(["python", "-m", "tests.faults.campaign", *(sys.argv[1:] if arguments is None else arguments)])
    if given.report is not None and not given.append:
        records_of(given.report).unlink(missing_ok=True)
    for kind, _ in given.kills:
        if not set(OF_KIND[kind]) & set(given.flavours):
            parser.error(f"a {kind} study has none of the flavours {', '.join(given.flavours)}")
    campaign = Campaign(given.seed, dict(given.kills), command)
    root = Path(tempfile.mkdtemp(prefix="faults-"))
    run(campaign, root, given.lanes, given.report, given.flavours)
    if not given.without_cases:
        play_cases(campaign, given.cases, root, given.lanes, given.report)
    if campaign.clean:
        import shutil

        shutil.rmtree(root)
    print(report_text(campaign))
    return 0 if campaign.clean else 1


if __name__ == "__main__":
    sys.exit(main())
