"""The end of a confirmation: the test split is opened, once for each completed trial, after the last one has ended.

A measurement is a pure function of a checkpoint that lies on disk. One whose driver dies before it is recorded is
unknown to everybody, and is made again with the same result; one that is recorded is never made again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray

from trainables.errors import TrainableError
from trainables.work import WorkOrder
from tune_gate.errors import Misuse, SpecError
from tune_gate.failures import failure_message
from tune_gate.heartbeat import Heartbeat
from tune_gate.search import Search
from tune_gate.spec import StudySpec
from tune_gate.study_dir import STOP_REQUEST, checkpoint_folder

#: How often a measurement is tried again where its worker or node is lost.
RETRIES = 3

_LOOK_SECONDS = 0.5


def check_measurable(trainable: Any, spec: StudySpec) -> None:
    """See that the trials of a confirmation can be measured at all, before they are trained.

    Raises:
        SpecError: `spec` is a confirmation, and its trainable has no `measure(order)`.
    """
    if spec.confirm is not None and not hasattr(trainable, "measure"):
        raise SpecError(f"trainable {spec.trainable!r} has no `measure(order)`, so it cannot be confirmed")


def measure_on_ray(search: Search, spec: StudySpec, study: Path, trainable: Any) -> None:
    """Measure what `search` has unmeasured, on the Ray that this process is connected to.

    Does nothing while trials are left to train, and in a search. Ends early where the search was asked to stop.

    Raises:
        Misuse: a trial cannot be measured, because its last checkpoint is gone or damaged; the others were.
    """
    if not search.finished or not search.unmeasured or search.stopping:
        return
    remote = ray.remote(num_cpus=spec.resources.cpus, num_gpus=spec.resources.gpus, max_retries=RETRIES)(
        trainable.measure
    )
    pending = {remote.remote(_order(search, spec, study, trial.number)): trial.number for trial in search.unmeasured}
    problems: list[str] = []
    beat = Heartbeat(study)
    while pending and not (search.stopping or (study / STOP_REQUEST).exists()):
        beat()
        done, _ = ray.wait(list(pending), timeout=_LOOK_SECONDS)
        for result in done:
            trial = pending.pop(result)
            try:
                search.measured(trial, ray.get(result))
            except TrainableError as error:
                problems.append(f"trial {trial} cannot be measured: {failure_message(error)}")
    if problems:
        raise Misuse(f"{problems[0]} (restore the study's folder 'trials' from a backup)")
    if pending:
        search.request_stop()


def _order(search: Search, spec: StudySpec, study: Path, number: int) -> dict[str, Any]:
    trial = search.trials[number]
    return WorkOrder(
        trial=number,
        attempt=trial.attempt,
        settings=spec.trial_settings(trial.settings, trial.seed, trial.epoch),
        from_epoch=trial.epoch,
        folder=str(checkpoint_folder(study.resolve(), number)),
        every=spec.checkpoints.every,
        keep=spec.checkpoints.keep,
        cpus=spec.resources.cpus,
        gpus=spec.resources.gpus,
    ).to_dict()
