"""Lists for a terminal: studies below a folder, and named search spaces."""

from __future__ import annotations

from pathlib import Path

import yaml
from rich.table import Table

from analysis.errors import AnalysisError
from analysis.objects import is_url, store_url
from analysis.study import open_study
from search_spaces import SPACES, named_space, space_to_mapping
from tune_gate.errors import Misuse, StudyImported, TuneGateError
from tune_gate.lock import current_holder
from tune_gate.progress import ProgressReader
from tune_gate.storage import studies_at


def studies_view(root: Path) -> Table:
    """The studies below `root`, one line each; one that cannot be read is listed with the reason.

    Raises:
        Misuse: there is none.
    """
    studies = studies_at(root)
    if not studies:
        raise Misuse(f"no studies below {root}")
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("study", "state", "trials", "best", "hours"):
        table.add_column(name, justify="left" if name in ("study", "state") else "right")
    for study in studies:
        table.add_row(*_row(study))
    return table


def _place(study: Path) -> str:
    """A study's place as a user would type it: a path eats one of the two slashes of a URL."""
    return str(store_url(study)) if is_url(study) else str(study)


def _row(study: Path) -> tuple[str, ...]:
    try:
        reader = ProgressReader(study)
        reader.read()
    except StudyImported:
        return _imported_row(study)
    except (AnalysisError, TuneGateError) as error:
        return (_place(study), str(error), "", "", "")
    progress = reader.progress(current_holder(study) is not None)
    best = "" if progress.best is None else f"{progress.best.val_acc:.4f}"
    counted = f"{progress.ended}/{progress.wanted}"
    return (_place(study), progress.session, counted, best, f"{progress.hours:.3g} {progress.device}")


def _imported_row(study: Path) -> tuple[str, ...]:
    opened = open_study(study)
    try:
        trials = opened.trials
    except AnalysisError as error:
        return (_place(study), str(error), "", "", "")
    best = trials["val_acc"].max()
    shown = "" if best != best else f"{best:.4f}"  # noqa: PLR0124  NaN
    device = "GPU" if opened.devices["gpus"] else "CPU"
    hours = float(trials[f"{device.lower()}_hours"].sum())
    return (_place(study), "imported", str(len(trials)), shown, f"{hours:.3g} {device}")


def spaces_view() -> Table:
    """The named search spaces: their names, how many points they have, and what varies in them."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("space", "points", "varies"):
        table.add_column(name, overflow="fold")
    for name in SPACES:
        space = named_space(name)
        table.add_row(name, str(space.size() or "continuous"), ", ".join(space.names))
    return table


def space_text(name: str) -> str:
    """A named space as it is written in a study.

    Raises:
        SpaceError: there is no such space (the nearest is named).
    """
    return yaml.safe_dump({"space": space_to_mapping(named_space(name))}, sort_keys=False, default_flow_style=None)
