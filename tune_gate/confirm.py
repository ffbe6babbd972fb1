"""From a search to its confirmation: its best configurations, its default and the plain ResNet, with fresh seeds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.copies import origin_of, shown
from analysis.errors import AnalysisError
from analysis.study import Study, open_study
from analysis.tables import best_table
from search_spaces import space_to_mapping
from trainables.config import TrialConfig
from tune_gate.budget import current_budget
from tune_gate.changes import current_spec
from tune_gate.confirm_spec import ArmSettings, Role
from tune_gate.errors import Misuse
from tune_gate.lock import current_holder
from tune_gate.spec import StudySpec, study_spec
from tune_gate.study_dir import read_spec

#: Settings that a ResNet without gate does not feel.
GATE_SETTINGS = frozenset(
    {"gate_input", "gate_hidden", "kappa", "lr_gate", "schedule_gate", "gate_period", "gate_gamma"}
)

#: What makes a plain ResNet of a configuration: no gate, and a trunk that learns from every batch.
WITHOUT_GATE: Mapping[str, Any] = {"gate": "none", "gate_iters": 1}


def confirmation_spec(source: Path, top: int, seeds: int) -> StudySpec:
    """The specification of the study that confirms the search in `source`.

    It trains on the search's training images, for the search's epochs and without early stopping: the `top` best
    configurations of the search, its plain default, and the control, which is the winner without its gate: the plain
    ResNet with the winner's trunk settings. Configurations that are the same train once, and have both roles.

    `source` is the search's folder, or the copy of one in a store.

    Raises:
        Misuse: the search is running, or is itself a confirmation.
        AnalysisError: there is no study, or no trial of it has a result.
        SpecError: the study was made by a version whose settings this one does not know.
    """
    study, spec = open_study(source), read_spec(source)
    if spec.confirm is not None:
        raise Misuse(
            f"{shown(source)} is a confirmation of {spec.confirm.source_name!r} already; confirm the search itself"
        )
    holder = current_holder(source)
    if holder is not None:
        raise Misuse(
            f"{shown(source)} is in use by {holder}: the test split is opened when the search is over, not before"
        )
    epochs = current_budget(spec, study.events).epochs
    arms = list(_arms(study, spec, top))
    return study_spec(
        {
            "name": f"{spec.name}-confirm"[:200],
            "seed": spec.seed,
            "trials": len(arms) * seeds,
            "epochs": epochs,
            "trainable": spec.trainable,
            "config": dict(spec.config),
            "space": _space(spec, arms),
            "first": [],
            "scheduler": {"kind": "full"},
            "sampler": {"kind": "given"},
            "resources": current_spec(spec, study.events).resources.model_dump(mode="json"),
            "checkpoints": spec.checkpoints.model_dump(mode="json"),
            "failures": spec.failures.model_dump(mode="json"),
            "confirm": {
                "source": origin_of(source) or str(source.resolve()),
                "source_name": spec.name,
                "seeds": seeds,
                "arms": [arm.model_dump(mode="json") for arm in arms],
            },
        }
    )


def _arms(study: Study, spec: StudySpec, top: int) -> Iterator[ArmSettings]:
    """The configurations, the winner first; those that are the same are joined."""
    arms: dict[str, ArmSettings] = {}
    for arm in _candidates(study, spec, top):
        key = _effective(spec, arm.settings)
        known = arms.get(key)
        if known is None:
            arms[key] = arm
        elif arm.roles != ("top",):  # a repetition among the best has no role of its own
            arms[key] = known.model_copy(update={"roles": (*known.roles, *arm.roles)})
    yield from arms.values()


def _candidates(study: Study, spec: StudySpec, top: int) -> Iterator[ArmSettings]:
    best = _best_distinct(study, spec, top)
    roles: dict[int, Role] = {0: "winner", 1: "runner-up"}
    for place, (trial, promised) in enumerate(best):
        settings = dict(study.columns.trials[trial].settings)
        role = roles.get(place, "top")
        yield ArmSettings(name=f"trial {trial}", roles=(role,), trial=trial, promised=promised, settings=settings)
    yield _default(study, spec)
    winner = study.columns.trials[best[0][0]].settings
    control = {name: value for name, value in winner.items() if name not in GATE_SETTINGS}
    yield ArmSettings(name="control", roles=("control",), settings={**control, **WITHOUT_GATE})


def _default(study: Study, spec: StudySpec) -> ArmSettings:
    """The plain default, with what it promised where the search trained it to the end."""
    plain = spec.base_config.model_dump(mode="json")
    settings = spec.default_point or {name: plain[name] for name in spec.search_space.names}
    settings = json.loads(json.dumps(settings))  # as a reader of the log will see them: no tuples
    wanted = _effective(spec, settings)
    done = study.trials[study.trials["state"] == "completed"]
    for trial, promised in zip(done["trial"].tolist(), done["val_acc"].tolist(), strict=True):
        if _effective(spec, study.columns.trials[trial].settings) == wanted:
            return ArmSettings(name="default", roles=("default",), trial=trial, promised=promised, settings=settings)
    return ArmSettings(name="default", roles=("default",), settings=settings)


def _best_distinct(study: Study, spec: StudySpec, top: int) -> list[tuple[int, float]]:
    """The `top` best distinct configurations of a search, each with its best trial and what that one promised."""
    table = best_table(study)
    found: dict[str, tuple[int, float]] = {}
    for trial, promised in zip(table["trial"].tolist(), table["val_acc"].tolist(), strict=True):
        record = study.columns.trials[trial]
        if record.state not in ("diverged", "failed") and not pd.isna(promised):
            found.setdefault(_effective(spec, record.settings), (trial, promised))
        if len(found) == top:
            break
    if not found:
        raise AnalysisError(f"study {study.name!r} has nothing to confirm yet: no trial has reported and stayed sane")
    return list(found.values())


def _effective(spec: StudySpec, settings: Mapping[str, Any]) -> str:
    """What a configuration amounts to: two that differ only in what does not act are the same."""
    full = spec.trial_settings(settings, spec.seed, spec.epochs)
    if full["gate"] == "none":
        full = {name: value for name, value in full.items() if name not in GATE_SETTINGS}
    return json.dumps(full, sort_keys=True)


def _space(spec: StudySpec, arms: list[ArmSettings]) -> dict[str, Any]:
    """The search's space, with what the control sets beside it: a study's tables have a column for each setting."""
    space: dict[str, Any] = dict(space_to_mapping(spec.search_space))
    defaults = TrialConfig.model_fields
    for arm in arms:
        for name, value in arm.settings.items():
            if name not in space:
                others = spec.config.get(name, defaults[name].default)
                space[name] = {"choice": [others, value]} if others != value else value
    return space
