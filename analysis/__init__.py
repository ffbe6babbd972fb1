"""What a recorded study says: its log, its trials, tidy tables, and files made of them.

Names are imported on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analysis.chance import Noise, noise
    from analysis.comparison import Comparison, compare
    from analysis.configs import config_yaml
    from analysis.confirmation import (
        CONFIRMATION_COLUMNS,
        Optimism,
        confirmation_lines,
        confirmation_runs,
        confirmation_table,
        confirmed_differences,
        optimism,
    )
    from analysis.confirmed import ConfirmedTrial, confirmed_trials
    from analysis.costs import LEDGER_PURPOSES, Ledger, ledger
    from analysis.early_stopping import Safety, early_stopping_safety
    from analysis.errors import AnalysisError, LogCorrupt, SchemaUnknown, StudyNotFound
    from analysis.explanations import Explanation, why
    from analysis.export import EXPORTERS, export_table
    from analysis.files import write_atomic
    from analysis.importance import importances
    from analysis.importers import IMPORTERS, import_study
    from analysis.importers.foreign import ImportFailed, ImportOptions
    from analysis.log import read_log
    from analysis.main_effects import Effects, effects
    from analysis.names import UnknownName
    from analysis.pareto import OPERATING_POINT_COLUMNS, front_lines, operating_points
    from analysis.plots.chart import NothingToShow
    from analysis.plots.registry import FIGURES, chart, figure, paper_figure, write_figures
    from analysis.rankings import RankCorrelation, rank_correlation
    from analysis.report import report_html, write_report
    from analysis.rungs import rung_entries
    from analysis.scores import Measure, part_where
    from analysis.statistics import MeanInterval, mean_interval, sign_flip_p, wilson_interval
    from analysis.study import Study, StudyHeader, list_studies, open_study
    from analysis.tables import BEST_TABLE_COLUMNS, best_table, best_trial

__all__ = [
    "BEST_TABLE_COLUMNS",
    "CONFIRMATION_COLUMNS",
    "EXPORTERS",
    "FIGURES",
    "IMPORTERS",
    "LEDGER_PURPOSES",
    "OPERATING_POINT_COLUMNS",
    "AnalysisError",
    "Comparison",
    "ConfirmedTrial",
    "Effects",
    "Explanation",
    "ImportFailed",
    "ImportOptions",
    "Ledger",
    "LogCorrupt",
    "MeanInterval",
    "Measure",
    "Noise",
    "NothingToShow",
    "Optimism",
    "RankCorrelation",
    "Safety",
    "SchemaUnknown",
    "Study",
    "StudyHeader",
    "StudyNotFound",
    "UnknownName",
    "best_table",
    "best_trial",
    "chart",
    "compare",
    "config_yaml",
    "confirmation_lines",
    "confirmation_runs",
    "confirmation_table",
    "confirmed_differences",
    "confirmed_trials",
    "early_stopping_safety",
    "effects",
    "export_table",
    "figure",
    "front_lines",
    "import_study",
    "importances",
    "ledger",
    "list_studies",
    "mean_interval",
    "noise",
    "open_study",
    "operating_points",
    "optimism",
    "paper_figure",
    "part_where",
    "rank_correlation",
    "read_log",
    "report_html",
    "rung_entries",
    "sign_flip_p",
    "why",
    "wilson_interval",
    "write_atomic",
    "write_figures",
    "write_report",
]

_MODULES = {
    "chance": ("Noise", "noise"),
    "configs": ("config_yaml",),
    "confirmation": (
        "CONFIRMATION_COLUMNS",
        "Optimism",
        "confirmation_lines",
        "confirmation_runs",
        "confirmation_table",
        "confirmed_differences",
        "optimism",
    ),
    "confirmed": ("ConfirmedTrial", "confirmed_trials"),
    "comparison": ("Comparison", "compare"),
    "costs": ("LEDGER_PURPOSES", "Ledger", "ledger"),
    "early_stopping": ("Safety", "early_stopping_safety"),
    "errors": ("AnalysisError", "LogCorrupt", "SchemaUnknown", "StudyNotFound"),
    "export": ("EXPORTERS", "export_table"),
    "files": ("write_atomic",),
    "importance": ("importances",),
    "importers": ("IMPORTERS", "import_study"),
    "importers.foreign": ("ImportFailed", "ImportOptions"),
    "log": ("read_log",),
    "main_effects": ("Effects", "effects"),
    "names": ("UnknownName",),
    "pareto": ("OPERATING_POINT_COLUMNS", "front_lines", "operating_points"),
    "plots.chart": ("NothingToShow",),
    "plots.registry": ("FIGURES", "chart", "figure", "paper_figure", "write_figures"),
    "rankings": ("RankCorrelation", "rank_correlation"),
    "report": ("report_html", "write_report"),
    "rungs": ("rung_entries",),
    "statistics": ("MeanInterval", "mean_interval", "sign_flip_p", "wilson_interval"),
    "scores": ("Measure", "part_where"),
    "study": ("Study", "StudyHeader", "list_studies", "open_study"),
    "tables": ("BEST_TABLE_COLUMNS", "best_table", "best_trial"),
    "explanations": ("Explanation", "why"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
