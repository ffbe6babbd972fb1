"""The search on Ray Tune. Tune places trials, runs actors and notices their deaths; what happens next is our search's.

A trial's attempt is one Tune trial. Whatever ends it, a decision, a crash or a lost node, the next attempt is a new one
that begins from the trial's own checkpoints: recovery within a session and after one is the same act.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from trainables.work import work_order
from tune_gate.bridge import Bridge
from tune_gate.ended_trials import NoProgress, let_go
from tune_gate.errors import SearchFailed, TuneGateError
from tune_gate.failures import error_of, last_line
from tune_gate.observers import callbacks
from tune_gate.placement import check_nodes, check_room, living_nodes, request
from tune_gate.search import Search
from tune_gate.spec import StudySpec
from tune_gate.trainable import trainable_of

#: Tune's own memory, loggers and handlers are off: the log is the memory, and the display reads the log.
_TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "64",  # workers that start at the same time; the search itself counts the room
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def run_on_ray(search: Search, spec: StudySpec, study: Path) -> None:
    """Run `search` on the Ray that this process is connected to, until it is finished or was asked to stop.

    Raises:
        Misuse: no node can ever hold a trial, or some node is not fit for one.
        SpecError: an observer cannot be had.
        SearchFailed: Tune gave up, or the log could not be written.
    """
    nodes = living_nodes()
    check_room(nodes, spec.resources)
    check_nodes(nodes, spec, study)
    os.environ.update(_TUNE_SETTINGS)
    bridge = Bridge(search, spec, study)
    tuner = tune.Tuner(
        tune.with_resources(trainable_of(spec, study), request(spec.resources)),
        tune_config=tune.TuneConfig(
            search_alg=_StudySearcher(bridge),
            scheduler=_StudyScheduler(bridge),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(study.resolve()),
            failure_config=tune.FailureConfig(max_failures=0),
            # The trainable saves by itself, before it reports.
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            callbacks=[*callbacks(spec.observers), NoProgress()],
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except TuneGateError:
        raise
    except Exception as error:
        if bridge.broken is not None:
            raise bridge.broken from error
        raise SearchFailed(f"Ray Tune gave up: {last_line(str(error))}") from error
    if bridge.broken is not None:
        raise bridge.broken
    bridge.clean_up()


class _StudySearcher(Searcher):
    """Hands Tune the search's assignments."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__(metric=None, mode=None)
        self._bridge = bridge

    def suggest(self, trial_id: str) -> Any:  # a work order, None, or FINISHED, which Ray's own type leaves out
        order = self._bridge.guard(lambda: self._bridge.next_order(trial_id), None)
        if order is not None:
            return dict(order.to_dict())
        return Searcher.FINISHED if self._bridge.over else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002  Ray's signature
        self._bridge.forget(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the log is the memory."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the log is the memory."""


class _StudyScheduler(FIFOScheduler):
    """Passes each report and each failure to the search, and its decisions to Tune."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Ray's
        self._bridge = bridge

    def on_trial_result(self, tune_controller: object, trial: Any, result: dict[str, Any]) -> str:  # noqa: ARG002
        action = self._bridge.guard(lambda: self._bridge.report(trial.trial_id, result), "stop")
        return str(self.CONTINUE if action == "continue" else self.STOP)

    def on_trial_error(self, tune_controller: object, trial: Any) -> None:  # noqa: ARG002
        self._bridge.guard(lambda: self._bridge.fail(trial.trial_id, error_of(trial)), None)

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """None: Tune starts what is pending by itself, first in, first out. Of a chosen trial it would end the worker
        that is starting for it as soon as another is free; where trials are shorter than a worker's start, there would
        only ever be one worker.

        Since Tune asks this at every step, it is the place to end what hangs, and to let go what has ended.
        """
        self._bridge.look_around()
        let_go(tune_controller._tune_controller)
        for trial in tune_controller.get_live_trials():
            if trial.status == "RUNNING" and self._bridge.overdue(trial.trial_id):
                ray.kill(trial.temporary_state.ray_actor)  # Tune then finds the trial failed
            if trial.status == "PENDING":
                self._bridge.expect_start(trial.trial_id)


def _trial_name(trial: Any) -> str:
    return work_order(trial.config).name
