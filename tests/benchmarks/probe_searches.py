"""What probes are worth to a whole search, over the recorded studies: the second tables of docs/probes.md.

    python -m tests.benchmarks.probe_searches tests/benchmarks/recorded/* --output docs/probes.md [--seeds 200]

Each search meets each recorded configuration once, in an order that its seed says, with 4 workers, until the rungs have
judged them all; the epochs of its probes count. It has found the best when a trial is within one standard error of it.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from analysis.files import write_atomic
from tests.benchmarks.probe_tables import metric, recorded, rungs
from tune_gate.replay.comparison import Replayed, ReplaySettings, compare
from tune_gate.replay.recorded import Matrix, RecordedCurves, RecordedProbes, load_curves
from tune_gate.replay.variants import Variant

#: Lengths of recorded probes, as shares of the epochs so far, and the ending of their metrics' names.
SHARES = {0.05: "_0.05", 0.1: "_0.1", 0.25: "", 0.5: "_0.5"}

FORMS = ("asha", "promotion")


def judged_by(study: Path) -> Iterator[tuple[str, RecordedCurves]]:
    """The curves of `study`, with what its rungs may compare: their epoch, the mean of three, and each probe."""
    curves = dataclasses.replace(load_curves(study), settings={})
    yield "plain", dataclasses.replace(curves, probes=None)
    milestones = rungs(recorded(study))
    smooth = curves.values.copy()
    for rung in milestones:
        smooth[:, rung - 1] = curves.values[:, rung - 3 : rung].mean(axis=1)
    yield "mean of the last 3 epochs", dataclasses.replace(curves, values=smooth, probes=None)
    for share, ending in SHARES.items():
        values = _of_probes(study, curves, milestones, f"probe_val_acc{ending}")
        if not np.isnan(values).all():
            seconds = _of_probes(study, curves, milestones, f"probe_seconds{ending}")
            yield f"probe of {share:.0%}", dataclasses.replace(curves, probes=RecordedProbes(share, values, seconds))


def _of_probes(study: Path, curves: RecordedCurves, milestones: Sequence[int], name: str) -> Matrix:
    """A metric of the probes, of shape (configurations, epochs); NaN where there was none."""
    found = np.full_like(curves.values, np.nan)
    for row, trial in zip(found, recorded(study), strict=True):
        for rung in milestones:
            row[rung - 1] = metric(trial, rung, name)
    return found


def replayed(curves: RecordedCurves, seeds: int) -> list[Replayed]:
    """Random search at full length, and both forms of ASHA, with the probes that `curves` have."""
    probe = {} if curves.probes is None else {"probe": {"share": curves.probes.share}}
    variants = [
        Variant(form, {"scheduler": {"kind": form, **probe}, "sampler": {"kind": "tpe-rung"}}) for form in FORMS
    ]
    settings = ReplaySettings(seeds=seeds, trials=len(curves.points), lookup="unused", tolerance=curves.standard_error)
    return list(compare(curves, variants, settings).searches)


def tables(study: Path, seeds: int) -> Iterator[str]:
    """The table of one study, in Markdown."""
    ways = dict(judged_by(study))
    plain = ways["plain"]
    near = plain.best - plain.standard_error
    count, good = len(plain.points), int((plain.peaks >= near).sum())
    yield f"### {study.name}: {count} configurations of {plain.epochs} epochs, {good} of them good"
    yield ""
    yield "| search | judged by | full lengths, median | mean | mean, of random's | never |"
    yield "|---|---|---|---|---|---|"
    base = 0.0
    for words, curves in ways.items():
        for search in replayed(curves, seeds):
            lengths = np.array(search.epochs_to(near)) / plain.epochs
            mean = float(np.minimum(lengths, count).mean())
            if search.variant.name not in FORMS:
                if base:
                    continue  # once is enough
                base = mean
            by = words if search.variant.name in FORMS else "-"
            median = float(np.median(lengths))
            yield (
                f"| {search.variant.name} | {by} | {median:.1f} | {mean:.1f} | {mean / base:.2f} | "
                f"{np.isinf(lengths).mean():.1%} |"
            )
    yield ""


def write(studies: Sequence[Path], output: Path, seeds: int) -> None:
    """Put the tables between their marks in the document; its words are kept."""
    before, _, rest = output.read_text(encoding="utf-8").partition("<!-- searches -->")
    _, _, after = rest.partition("<!-- end of searches -->")
    blocks = "\n".join(line for study in studies for line in tables(study, seeds))
    write_atomic(output, f"{before}<!-- searches -->\n\n{blocks}\n<!-- end of searches -->{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=200)
    given = parser.parse_args()
    write(given.studies, given.output, given.seeds)


if __name__ == "__main__":
    main()
