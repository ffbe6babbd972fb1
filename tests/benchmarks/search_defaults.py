"""Which scheduler and sampler find more for less, over recorded curves: the numbers of docs/search-defaults.md.

    python -m tests.benchmarks.search_defaults all --seeds 40 --results DIR --output docs/search-defaults.md

A benchmark is the stem of a file in ../shared/data/curves, or `cifar10-110`: the 24 published CIFAR-10 runs of depth
110, each met once, with ten times the seeds. Every search has a budget of 20 full-length trials with 4 workers, and of
80 with 16. `all` runs what DIR does not hold yet, part by part (`searches.PARTS`; `--part` picks some of them), and
writes the tables; `run` runs one benchmark, and `write` only writes. The parts `syne-tune` and `smac` want to be
installed, and are left out where they are not.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.files import write_atomic
from tests.benchmarks.peers import peer_run
from tests.benchmarks.published import PUBLISHED, SHARED, published
from tests.benchmarks.searches import PARTS, peers_of, variants_of
from tune_gate.replay.comparison import Replayed, ReplaySettings, compare, regret
from tune_gate.replay.recorded import load_curves
from tune_gate.replay.variants import REFERENCE, Variant

BUDGETS = {4: 20, 16: 80}  # full-length trials, by workers

#: Parts that are no dependencies of ours.
FOREIGN = ("syne-tune", "smac")

#: In which searches are listed.
ORDER = (REFERENCE.name, *(variant.name for variant in variants_of(PARTS)), *peers_of(PARTS))

#: One table of each kind, shown apart: a choice made on these is checked by the other three.
CHOICE = ("tinresnet", "ts_p32_GRU64_avg_bs128", "ylc_7593")


def run(benchmark: str, workers: int, seeds: int, parts: tuple[str, ...] = PARTS) -> dict[str, Any]:
    """Each search's regret, and full-length trials until the reference's median end (or one SE of the best)."""
    started = time.perf_counter()
    variants = variants_of(parts)
    if benchmark == PUBLISHED:
        curves = published()
        tolerance = curves.standard_error
        settings = ReplaySettings(
            workers=workers, seeds=seeds, trials=len(curves.points), lookup="unused", tolerance=tolerance
        )
        comparison = compare(curves, variants, settings)
        searches, target = list(comparison.searches), curves.best - tolerance
    else:
        curves = load_curves(SHARED / "data" / "curves" / f"{benchmark}.npz")
        settings = ReplaySettings(workers=workers, seeds=seeds, budget=BUDGETS[workers])
        searches = list(compare(curves, variants, settings).searches)
        budget = BUDGETS[workers] * curves.epochs
        for name, make in peers_of(parts).items():
            peers = (make(curves, seed, BUDGETS[workers]) for seed in range(seeds))
            runs = tuple(peer_run(peer, curves, seed, workers, budget) for seed, peer in enumerate(peers))
            searches.append(Replayed(Variant(name, {}), runs))
        target = float(np.median(searches[0].best()))
    return {
        "benchmark": benchmark,
        "workers": workers,
        "seeds": seeds,
        "seconds": time.perf_counter() - started,
        "searches": {
            search.variant.name: {
                "regret": regret(curves, search.best()),
                "lengths": [epochs / curves.epochs for epochs in search.epochs_to(target)],
                "trials": sum(run.trials for run in search.runs),
            }
            for search in searches
        },
    }


def pooled_table(results: list[dict[str, Any]]) -> list[str]:
    """Over all tables: regret, share of runs that reach the reference's median end, and how much sooner."""
    budget = BUDGETS[results[0]["workers"]]
    lines = [
        "| search | regret %, mean | 5-95 % | 75th | of random's | reached | speed-up |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in _names(results):
        having = [result["searches"] for result in results if name in result["searches"]]
        here = [searches[name] for searches in having]
        base = np.concatenate([searches[REFERENCE.name]["regret"] for searches in having]).mean()
        words = name if len(here) == len(results) else f"{name} ({len(here)} of the tables)"
        regrets = np.concatenate([search["regret"] for search in here])
        lengths = np.concatenate([search["lengths"] for search in here])
        low, high = np.quantile(regrets, (0.05, 0.95))
        lines.append(
            f"| {words} | {regrets.mean():.1f} | {low:.1f}-{high:.1f} | {np.quantile(regrets, 0.75):.1f} | "
            f"{regrets.mean() / base:.2f} | {np.isfinite(lengths).mean():.0%} | {_speed(budget, lengths)} |"
        )
    return lines


def benchmark_table(results: list[dict[str, Any]]) -> list[str]:
    """Mean regret and the share that reached the reference, table by table."""
    lines = [
        "| search | " + " | ".join(result["benchmark"] for result in results) + " |",
        "|---" * (len(results) + 1) + "|",
    ]
    for name in _names(results):
        cells = []
        for result in results:
            search = result["searches"].get(name)
            cells.append(
                "-"
                if search is None
                else f"{np.mean(search['regret']):.1f}, {np.isfinite(search['lengths']).mean():.0%}"
            )
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def published_table(result: dict[str, Any]) -> list[str]:
    """Full-length trials until one standard error of the best known; in the mean, a run that never gets there counts
    with all of the configurations. The median alone says little: workers that start together end together, so it is
    also given by blocks of 50 seeds, as the range of its ratio to random's over them.
    """
    everything = float(len(published().points))

    def mean(lengths: Sequence[float]) -> float:
        return float(np.minimum(lengths, everything).mean())

    base = result["searches"][REFERENCE.name]["lengths"]
    lines = [
        "| search | full lengths, median | 5-95 % | of random's, blocks of 50 | mean | mean, of random's | never |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, search in result["searches"].items():
        lengths = search["lengths"]
        low, median, high = np.quantile(lengths, (0.05, 0.5, 0.95), method="inverted_cdf")
        lines.append(
            f"| {name} | {median:.2f} | {low:.2f}-{high:.2f} | {_block_ratios(lengths, base)} | {mean(lengths):.2f} | "
            f"{mean(lengths) / mean(base):.2f} | {np.isinf(lengths).mean():.1%} |"
        )
    return lines


def _block_ratios(lengths: Sequence[float], base: Sequence[float], seeds: int = 50) -> str:
    """Lowest and highest ratio of the medians, over blocks of so many seeds."""
    blocks = np.reshape(lengths, (-1, seeds)), np.reshape(base, (-1, seeds))
    ours, theirs = (np.median(block, axis=1) for block in blocks)
    return f"{(ours / theirs).min():.2f}-{(ours / theirs).max():.2f}"


def write(results: Path, output: Path) -> None:
    """Put the tables of all results between the marks of the document; its words are kept."""
    records = list(_whole(json.loads(path.read_text()) for path in sorted(results.glob("*.json"))))
    tables = [record for record in records if record["benchmark"] != PUBLISHED]
    blocks: list[str] = []
    for workers in sorted({record["workers"] for record in tables}):
        here = [record for record in tables if record["workers"] == workers]
        groups = {
            "all": here,
            "the three of the choice": [record for record in here if record["benchmark"] in CHOICE],
            "the three of the check": [record for record in here if record["benchmark"] not in CHOICE],
        }
        for words, group in groups.items():
            if group:
                blocks += [f"### {_head(workers, group)}: {words}", "", *pooled_table(group), ""]
        blocks += ["Mean regret in %, and share of runs that reached random's median end:", ""]
        blocks += [*benchmark_table(here), ""]
    for record in records:
        if record["benchmark"] == PUBLISHED:
            head = (
                f"### The 24 published CIFAR-10 runs of depth 110, {record['workers']} workers, {record['seeds']} seeds"
            )
            blocks += [head, "", *published_table(record), ""]
    text = output.read_text(encoding="utf-8")
    before, _, rest = text.partition("<!-- tables -->")
    _, _, after = rest.partition("<!-- end of tables -->")
    write_atomic(output, f"{before}<!-- tables -->\n\n" + "\n".join(blocks) + f"\n<!-- end of tables -->{after}")


def _whole(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Parts of one run put together; the searches of both have the same reference."""
    found: dict[tuple[str, int, int], dict[str, Any]] = {}
    for record in records:
        key = (record["benchmark"], record["workers"], record["seeds"])
        if key in found:
            record["searches"] = found[key]["searches"] | record["searches"]
        found[key] = record
    for record in found.values():
        record["searches"] = {name: record["searches"][name] for name in ORDER if name in record["searches"]}
        yield record


def _names(results: list[dict[str, Any]]) -> list[str]:
    """The searches that were run on any of the benchmarks, in the order of all tables."""
    return [name for name in ORDER if any(name in result["searches"] for result in results)]


def _head(workers: int, results: list[dict[str, Any]]) -> str:
    seeds = "/".join(map(str, sorted({record["seeds"] for record in results})))
    return f"{workers} workers, {BUDGETS[workers]} full-length trials, {len(results)} tables x {seeds} seeds"


def _speed(budget: float, lengths: Iterable[float]) -> str:
    median = float(np.median(np.asarray(lengths)))
    return f"{budget / median:.1f}" if math.isfinite(median) else "-"


def everything(results: Path, seeds: int, parts: Iterable[str]) -> None:
    """Run what is not in `results` yet."""
    tables = sorted(path.stem for path in (SHARED / "data" / "curves").glob("*.npz"))
    for part in parts:
        for workers in BUDGETS:
            for benchmark in tables:
                _run_once(results, benchmark, workers, seeds, part)
        if variants_of((part,)):  # no peer meets each configuration once
            _run_once(results, PUBLISHED, 4, 10 * seeds, part)


def _run_once(results: Path, benchmark: str, workers: int, seeds: int, part: str) -> None:
    path = results / f"{benchmark}-{workers}-{part}.json"
    if path.exists() and json.loads(path.read_text())["seeds"] == seeds:
        return
    result = run(benchmark, workers, seeds, (part,))
    write_atomic(path, json.dumps(result))
    trials = sum(search["trials"] for search in result["searches"].values())
    print(f"{path}: {trials} trials in {result['seconds']:.0f} s", flush=True)


def _installed(part: str) -> bool:
    return importlib.util.find_spec({"syne-tune": "syne_tune"}.get(part, part)) is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("all", "run", "write"):
        command = commands.add_parser(name)
        command.add_argument("--results", type=Path, required=True)
        if name != "run":
            command.add_argument("--output", type=Path, required=True)
        if name != "write":
            command.add_argument("--seeds", type=int, default=40)
            command.add_argument("--part", choices=PARTS, action="append")
        if name == "run":
            command.add_argument("benchmark")
            command.add_argument("--workers", type=int, choices=sorted(BUDGETS), default=4)
    arguments = parser.parse_args()
    if arguments.command != "write":
        parts = arguments.part or [part for part in PARTS if part not in FOREIGN or _installed(part)]
    if arguments.command == "run":
        for part in parts:
            _run_once(arguments.results, arguments.benchmark, arguments.workers, arguments.seeds, part)
        return
    if arguments.command == "all":
        everything(arguments.results, arguments.seeds, parts)
    write(arguments.results, arguments.output)


if __name__ == "__main__":
    main()
