"""What a person sees while a search runs: a live panel on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tune_gate.lock import current_holder
from tune_gate.progress import Progress, ProgressReader, clock, duration, short

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

_LAST_LINES = 4


class Display(Protocol):
    """What a supervised search talks to."""

    def tick(self) -> None:
        """Look at the log, and show what is new."""

    def say(self, message: str) -> None:
        """Show a line that is not from the log."""


class Silent:
    """Shows nothing."""

    def tick(self) -> None:
        """Nothing."""

    def say(self, message: str) -> None:
        """Nothing."""


class PlainLines:
    """One line for each thing that happens."""

    def __init__(self, study: Path, console: Console) -> None:
        self._reader = ProgressReader(study)
        self._console = console
        self._reader.read()  # an earlier session's events are no news

    def tick(self) -> None:
        """Print a line for each new event worth one."""
        for event in self._reader.read():
            line = self._reader.describe(event)
            if line is not None:
                self._print(f"{clock(event.time)}  {line}")

    def say(self, message: str) -> None:
        """Print `message`."""
        self._print(message)

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class LivePanel:
    """A panel that is redrawn in place; it is at the same time what rich draws."""

    def __init__(self, study: Path) -> None:
        self._study = study
        self._reader = ProgressReader(study)
        self._lines: list[str] = []
        self._reader.read()

    def tick(self) -> None:
        """Take in what is new; the panel redraws itself."""
        for event in self._reader.read():
            line = self._reader.describe(event)
            if line is not None:
                self.say(f"{clock(event.time)}  {line}")

    def say(self, message: str) -> None:
        """Show `message` among the last lines."""
        self._lines = [*self._lines, message][-_LAST_LINES:]

    def __rich__(self) -> Group:
        progress = self._reader.progress(current_holder(self._study) is not None)
        last = Text("\n".join(self._lines), style="dim", overflow="ellipsis", no_wrap=True)
        return Group(status_view(progress, self._reader.spec.metric), Text(), last)


@contextmanager
def open_display(study: Path, console: Console) -> Iterator[Display]:
    """The display that fits where the output goes."""
    if not console.is_terminal:
        yield PlainLines(study, console)
        return
    panel = LivePanel(study)
    with Live(panel, console=console, refresh_per_second=4, transient=True):
        yield panel


def status_view(progress: Progress, metric: str) -> Group:
    """Where a search stands: counts, running trials, rungs, the best so far, what was spent."""
    states = ", ".join(f"{count} {state}" for state, count in sorted(progress.states.items())) or "none yet"
    head = Text.assemble(
        (progress.name, "bold"), f"  {progress.session}  ", (f"{progress.ended}/{progress.wanted}", "bold"),
        f" trials ended ({states})",
    )  # fmt: skip
    parts: list[Text | Table] = [head]
    if progress.best is not None:
        best = progress.best
        interval = "" if best.low != best.low else f" [{100 * best.low:.2f}, {100 * best.high:.2f}]"
        parts.append(
            Text.assemble("best   ", (f"{100 * best.val_acc:.2f} %", "bold green"),
                          f"{interval} validation accuracy, trial {best.trial} at epoch {best.epoch}")
        )  # fmt: skip
    if progress.inherited:
        parts.append(Text(f"knows  {progress.inherited} trials of earlier studies"))
    left = "" if progress.seconds_left is None else f", about {duration(progress.seconds_left)} left"
    parts.append(Text(f"spent  {progress.hours:.3g} {progress.device}-hours{left}"))
    if progress.rungs:
        parts.append(_rungs(progress))
    if progress.running:
        parts.append(_running(progress, metric))
    return Group(*parts)


def best_table_view(table: pd.DataFrame, title: str) -> Table:
    """The best-config table for a terminal, the settings in one column that wraps; the exports have one for each."""
    from analysis.display import column_values, display_table  # noqa: PLC0415  pandas is slow to import
    from analysis.tables import BEST_TABLE_COLUMNS  # noqa: PLC0415

    view = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="dim", pad_edge=False)
    for heading, justify in _RESULTS.values():
        view.add_column(heading, justify=justify, no_wrap=True)
    view.add_column("settings", overflow="fold")
    shown = display_table(table[[*_RESULTS, "val_acc_low", "val_acc_high"]])
    columns = {name: column_values(table[name]) for name in table.columns if name not in BEST_TABLE_COLUMNS}
    for number, row in enumerate(shown.rows):
        view.add_row(*row, settings_text({name: values[number] for name, values in columns.items()}))
    return view


def settings_text(settings: Mapping[str, object]) -> str:
    """Settings in one line; those that do not apply are left out."""
    return "  ".join(f"{name} {short(value)}" for name, value in settings.items() if value is not None)


#: The columns of results in the terminal's table: heading and alignment.
_RESULTS: dict[str, tuple[str, Literal["left", "right"]]] = {
    "rank": ("#", "right"),
    "trial": ("trial", "right"),
    "val_acc": ("val_acc %", "right"),
    "best_epoch": ("epoch", "right"),
    "ended": ("ended", "left"),
    "hours": ("hours", "right"),
}


def stdout_console() -> Console:
    """Where results go. Output that is not to a terminal is never wrapped to eighty columns."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)


def _rungs(progress: Progress) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    pauses = any(rung.paused for rung in progress.rungs)
    for name in ("rung", "reached", *(["paused"] if pauses else []), "stopped", "best"):
        table.add_column(name, justify="right")
    for rung in progress.rungs:
        best = "" if rung.best is None else f"{rung.best:.4f}"
        paused = [str(rung.paused)] if pauses else []
        table.add_row(f"epoch {rung.milestone}", str(rung.reached), *paused, str(rung.stopped), best)
    return table


def _running(progress: Progress, metric: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("trial", "epoch", metric):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("settings")  # it alone gives way on a narrow terminal
    for trial in progress.running:
        value = "" if trial.last is None else f"{trial.last.metrics[metric]:.4f}"
        settings = Text(settings_text(trial.settings), no_wrap=True, overflow="ellipsis")
        table.add_row(str(trial.number), f"{trial.epoch}/{progress.epochs}", value, settings)
    return table
