"""The two forms of ASHA at equal numbers of trials, as `launch` counts them; see docs/search-defaults.md.

    python -m tests.benchmarks.equal_trials [--seeds 40] [--trials 16 24 48]

Over the recorded tables, with 4 workers: regret, the full-length trials spent, how long it took, and how many trials
were trained to the end.
"""

from __future__ import annotations

import argparse

import numpy as np

from tests.benchmarks.published import SHARED
from tests.benchmarks.searches import variants_of
from tune_gate.replay.comparison import ReplaySettings, compare, regret
from tune_gate.replay.recorded import load_curves


def table(trials: int, seeds: int) -> list[str]:
    """A line for each search; means over tables and seeds."""
    found: dict[str, list[list[float]]] = {}
    for path in sorted((SHARED / "data" / "curves").glob("*.npz")):
        curves = load_curves(path)
        for search in compare(curves, variants_of(("ours",)), ReplaySettings(seeds=seeds, trials=trials)).searches:
            rows = found.setdefault(search.variant.name, [[], [], [], []])
            rows[0] += regret(curves, search.best())
            rows[1] += [len(run.best) / curves.epochs for run in search.runs]
            rows[2] += [float(run.hours[-1]) / curves.epochs for run in search.runs]
            rows[3] += [float(sum(report.action == "complete" for report in run.decisions)) for run in search.runs]
    lines = []
    for name, rows in found.items():
        missing, lengths, time, whole = (float(np.mean(row)) for row in rows)
        lines.append(f"| {trials} | {name} | {missing:.1f} | {lengths:.1f} | {time:.1f} | {whole:.1f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--trials", type=int, nargs="+", default=(16, 24, 48))
    given = parser.parse_args()
    print("| trials | search | regret %, mean | full lengths spent | time, in full lengths | trained to the end |")
    print("|---|---|---|---|---|---|")
    for trials in given.trials:
        print("\n".join(table(trials, given.seeds)), flush=True)


if __name__ == "__main__":
    main()
