"""Surveying the gate of a study's trial: from its checkpoint to the survey file and its figures."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from analysis.copies import fetch_below
from analysis.errors import AnalysisError
from analysis.files import write_atomic
from analysis.gate import Survey, survey_path
from analysis.names import unknown_name
from analysis.plots.chart import NothingToShow
from analysis.plots.survey import exits_chart, openness_chart, pictures, skipping_chart
from analysis.study import Study, open_study
from analysis.tables import best_table
from trainables.errors import CheckpointError
from tune_gate.errors import Misuse
from tune_gate.storage import checkpoint_names
from tune_gate.study_dir import checkpoint_folder, read_spec
from tune_gate.verify_checkpoints import READABLE


def survey_trial(directory: Path, trial: int | None, device: str) -> Path:
    """Survey the gate of a trial, of the best one that has a gate where none is named; the survey file.

    `directory` is the study's folder or URL; of a URL, what is written lies in the copy that this process reads.

    Raises:
        Misuse: the trial is a plain ResNet, has no checkpoint, or was trained by another trainable.
        UnknownName: the study has no such trial.
        TrainableError: the checkpoint or the data cannot be read.
    """
    from trainables.gate_survey import survey_gate, surveyed_checkpoint, write_survey  # noqa: PLC0415  torch is slow
    from trainables.standalone import pick_device  # noqa: PLC0415

    study = open_study(directory)
    spec = read_spec(study.path)
    if spec.trainable != READABLE:
        raise Misuse(f"the checkpoints of {spec.trainable} have a format of their own, so its gates are not surveyed")
    number = _best_gated(study) if trial is None else _known(study, trial)
    settings = study.config_of(number)
    if settings.get("gate") == "none":
        raise Misuse(f"trial {number} is a plain ResNet: it has no gate to survey")
    try:
        folder = checkpoint_folder(study.path, number)
        fetch_below(study.path, folder.relative_to(study.path).as_posix())
        checkpoint = surveyed_checkpoint(folder)
    except CheckpointError as error:
        raise Misuse(f"trial {number} cannot be surveyed: {error}") from None
    path = survey_path(study, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_survey(survey_gate(checkpoint, settings["data_dir"], pick_device(device, None)), path, number)
    return path


def write_gate_figures(survey: Survey, folder: Path, fmt: str) -> list[Path]:
    """Write the figures of a survey to `folder`; those that it has not the data for are left out.

    Raises:
        OSError: a file cannot be written.
    """
    from analysis.plots.in_matplotlib import draw, save  # noqa: PLC0415  matplotlib is slow to import

    figures = {"pictures": pictures(survey)}
    for make in (openness_chart, exits_chart, skipping_chart):
        try:
            chart = make(survey)
        except NothingToShow:
            continue
        figures[chart.name.removeprefix("gate-")] = draw(chart)
    written = []
    for name, figure in figures.items():
        file = BytesIO()
        save(figure, file, fmt)
        written.append(folder / f"{name}.{fmt}")
        write_atomic(written[-1], file.getvalue())
    return written


def _known(study: Study, trial: int) -> int:
    if trial not in study.columns.trials:
        raise unknown_name("trial", trial, study.columns.trials)
    return trial


def _best_gated(study: Study) -> int:
    """The best trial with a gate whose checkpoints are kept."""
    for number in best_table(study)["trial"].tolist():
        kept = checkpoint_names(study.path, number)
        if kept and study.config_of(number).get("gate") != "none":
            return int(number)
    raise AnalysisError(f"study {study.name!r} has no trial with a gate of which a checkpoint is kept")
