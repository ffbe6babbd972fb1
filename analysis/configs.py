"""A trial's settings as a file that trains it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import yaml

from analysis.tables import best_table, best_trial

if TYPE_CHECKING:
    from analysis.study import Study


def config_yaml(study: Study, trial: int | Literal["best"]) -> str:
    """The YAML with which `tune-gate train` and `launch` train that trial again, for the study's epochs.

    Its first line is a comment that says where it comes from.

    Raises:
        UnknownName: the study has no such trial.
        AnalysisError: "best" is asked for and no trial has reported without diverging or failing.
    """
    number = best_trial(study) if trial == "best" else trial
    settings = study.config_of(number)
    epochs, seed = settings.pop("epochs"), settings.pop("seed")
    name = " ".join(study.name.split())  # a line break would end the comment
    content = {"name": f"{name}-trial-{number}", "seed": seed, "epochs": epochs, "config": settings}
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return f"# study {name}, trial {number}: {_result(study, number)}\n{body}"


def _result(study: Study, number: int) -> str:
    table = best_table(study)
    row = table[table["trial"] == number]
    if row.empty:
        return "no epoch reported"
    return f"val_acc {row['val_acc'].item():.4f} at epoch {row['best_epoch'].item()}"
