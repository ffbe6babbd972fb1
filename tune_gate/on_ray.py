"""The search on Ray Tune. Tune places trials, runs actors and notices their deaths; what happens next is our search's.

A trial's attempt is one Tune trial. Whatever ends it, a decision, a crash or a lost node, the next attempt is a new one
that begins from the trial's own checkpoints: recovery within a session and after one is the same act.
"""

from __future__ import annotations

import importlib
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from analysis.copies import origin_of
from analysis.events import Action, FailureKind
from trainables.work import WorkOrder, work_order
from tune_gate.errors import SearchFailed, SpecError, TuneGateError
from tune_gate.failures import error_of, failure_kind, failure_message, failure_traceback, last_line, report_problem
from tune_gate.heartbeat import Heartbeat
from tune_gate.losses import Loss, Losses
from tune_gate.metrics import SearchMetrics
from tune_gate.mirrored_trainable import SUPERSEDED, mirrored
from tune_gate.observers import callbacks
from tune_gate.placement import check_nodes, check_room, living_nodes, own_node, request
from tune_gate.retention import Retention, kept_ones
from tune_gate.search import Search
from tune_gate.spec import StudySpec
from tune_gate.study_dir import STOP_REQUEST, checkpoint_folder

#: How often the search looks whether nodes came or went, and whether it was asked to stop.
LOOK_AROUND_SECONDS = 1.0

#: How often Ray's metrics are told where the search stands; Prometheus asks no oftener.
TELL_SECONDS = 10.0

#: A trial is taken for hung after so many times the longest epoch seen, but not before the time that the first may
#: take: a worker's start, the reading of the data, a GPU's warm-up.
SILENT_EPOCHS = 10.0
FIRST_REPORT_SECONDS = 1800.0

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
    bridge = _Bridge(search, spec, study)
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
            callbacks=callbacks(spec.observers),
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


def trainable_class(name: str) -> Any:
    """The trainable at `name`, as MODULE:CLASS: a `ray.tune.Trainable` that is configured by work orders.

    It has, besides, `check(settings)`, which raises where no trial could run; and for confirmations `measure(order)`,
    which gives the metrics of a trial's last checkpoint on the test split.

    Raises:
        SpecError: there is no such module or class.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SpecError(f"trainable {name!r}: {error}") from None
    if not (isinstance(found, type) and issubclass(found, tune.Trainable) and hasattr(found, "check")):
        raise SpecError(f"trainable {name!r} is no ray.tune.Trainable with a `check(settings)`")
    return found


def trainable_of(spec: StudySpec, study: Path) -> Any:
    """The trainable of the study in `study`, which keeps its checkpoints where that study lies."""
    trainable, origin = trainable_class(spec.trainable), origin_of(study)
    return trainable if origin is None else mirrored(trainable, origin)


class _Bridge:
    """What the searcher and the scheduler share: the search, and which Tune trial is which attempt."""

    def __init__(self, search: Search, spec: StudySpec, study: Path) -> None:
        self.search = search
        self.orders: dict[str, WorkOrder] = {}  # by Tune's trial id
        self.broken: BaseException | None = None  # the error that ended the search
        self._spec = spec
        self._study = study
        self._heard: dict[str, float] = {}  # by Tune's trial id: when it last reported or was handed out
        self._addresses: dict[str, str] = {}  # by Tune's trial id: of the node that its reports come from
        self._silent: dict[str, str] = {}  # by Tune's trial id: why it was ended
        self._losses = Losses(own_node())
        self._slowest = 0.0  # seconds between two reports of one trial, at most
        self._retention = Retention(study, spec.metric, kept_ones(spec), search.trials.values())
        self._beat = Heartbeat(study)
        self._metrics = SearchMetrics(spec)
        self._told = -math.inf
        self._looked = -math.inf
        self._capacity = 0

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes its tuner to a file that nobody will read, and the log's writer is not to be copied."""
        return {}

    def guard(self, act: Callable[[], Any], otherwise: Any) -> Any:
        """The result of `act`. Its error is kept, since Tune would wrap it, and the search ends."""
        if self.broken is not None:
            return otherwise
        try:
            return act()
        except BaseException as error:  # noqa: BLE001  raised again where `fit` returns
            self.broken = error
            return otherwise

    def next_order(self, tune_id: str) -> WorkOrder | None:
        """The next attempt, recorded as begun; None where there is nothing to start or no room."""
        self.look_around()
        if self.search.live >= self._capacity:
            return None
        assignment = self.search.next_assignment()
        if assignment is None:
            return None
        order = WorkOrder(
            trial=assignment.trial,
            attempt=assignment.attempt,
            settings=assignment.settings,
            from_epoch=assignment.from_epoch,
            folder=str(checkpoint_folder(self._study.resolve(), assignment.trial)),
            every=self._spec.checkpoints.every,
            keep=self._spec.checkpoints.keep,
            cpus=self._spec.resources.cpus,
            gpus=self._spec.resources.gpus,
        )
        self.orders[tune_id] = order
        self._heard[tune_id] = time.monotonic()
        return order

    def report(self, tune_id: str, result: dict[str, Any]) -> Action:
        """Record a report, and what the search decides on it."""
        order = self.orders[tune_id]
        now = time.monotonic()
        self._slowest = max(self._slowest, now - self._heard[tune_id])
        self._heard[tune_id] = now
        self._addresses[tune_id] = result.get("node_ip", "")
        for message in result.get("warnings", ()):
            self.search.warn(message, order.trial)
        metrics = {
            name.removeprefix("metrics/"): value for name, value in result.items() if name.startswith("metrics/")
        }
        problem = report_problem(result, metrics, self._spec.metric)
        if problem is not None:
            self.search.fail(order.trial, order.attempt, "error", problem)
            return "stop"
        action = self.search.report(order.trial, order.attempt, result["epoch"], metrics)
        self.search.retire(result.get(SUPERSEDED, ()))
        return action

    def fail(self, tune_id: str, error: BaseException | None) -> None:
        """Record that an attempt ended without a decision; of a worker that is gone, once it is known why."""
        order = self.orders.get(tune_id)
        if order is None:
            return
        silence = self._silent.pop(tune_id, None)
        kind: FailureKind = "lost" if silence else failure_kind(error)
        message, trace = silence or failure_message(error), failure_traceback(error)
        if silence or kind != "lost":
            self.search.fail(order.trial, order.attempt, kind, message, trace)
            return
        now = time.monotonic()
        heard, address = self._heard.get(tune_id, now), self._addresses.get(tune_id, "")
        self._losses.add(Loss(order.trial, order.attempt, message, trace, address, heard, now))

    def forget(self, tune_id: str) -> None:
        """A Tune trial is over."""
        self.orders.pop(tune_id, None)
        self._heard.pop(tune_id, None)
        self._addresses.pop(tune_id, None)

    def overdue(self, tune_id: str) -> bool:
        """Whether a running attempt has been silent for too long; true once."""
        limit = self._spec.failures.silence or max(FIRST_REPORT_SECONDS, SILENT_EPOCHS * self._slowest)
        if tune_id not in self._heard or tune_id in self._silent:
            return False
        silent = time.monotonic() - self._heard[tune_id]
        if silent < limit:
            return False
        self._silent[tune_id] = f"no report for {silent:.0f} s; its process was ended"
        return True

    def expect_start(self, tune_id: str) -> None:
        """See that an attempt which was handed out gets its process.

        Raises:
            SearchFailed: it has none after a long while, though there is room. Tune cannot take back what it has asked
                Ray for, and another session may be luckier.
        """
        if self.search.live > self._capacity:  # a node was lost; it may come back
            self._heard[tune_id] = time.monotonic()
        elif time.monotonic() - self._heard.get(tune_id, math.inf) > FIRST_REPORT_SECONDS:
            raise SearchFailed(f"trial {self.orders[tune_id].trial} was handed out, and Ray never started its process")

    def clean_up(self) -> None:
        """Delete the checkpoints that the log no longer counts on, once it is on the disk. Raises LogWriteError."""
        self._retention.take_in(self.search.trials.values())
        self.search.settle()
        self._retention.sweep()

    @property
    def over(self) -> bool:
        """Whether nothing is running and nothing will be started."""
        search = self.search
        return self.broken is not None or (search.live == 0 and (search.stopping or search.finished))

    def look_around(self) -> None:
        """See which nodes are there, and whether the search was asked to stop; and clean up.

        Raises:
            LogWriteError: the disk is full.
            SearchFailed: this process has lost its own node, through which it speaks with all others. Ray says nothing
                then, and Tune would wait for ever.
        """
        self._beat()
        now = time.monotonic()
        if now - self._looked < LOOK_AROUND_SECONDS:
            return
        self._looked = now
        self.clean_up()
        if now - self._told >= TELL_SECONDS:
            self._told = now
            self._metrics.update(self.search.trials.values())
        nodes = living_nodes()
        if own_node() not in {node.id for node in nodes}:
            raise SearchFailed("the Ray node that the driver runs on has died")
        self._losses.see(nodes, now)
        for loss, kind in self._losses.judge(now):
            self.search.fail(loss.trial, loss.attempt, kind, loss.message, loss.traceback)
        room = sum(node.room(self._spec.resources) for node in nodes)
        self._capacity = min(room, self._spec.resources.concurrency or room)
        if (self._study / STOP_REQUEST).exists():
            self.search.request_stop()


class _StudySearcher(Searcher):
    """Hands Tune the search's assignments."""

    def __init__(self, bridge: _Bridge) -> None:
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

    def __init__(self, bridge: _Bridge) -> None:
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

        Since Tune asks this at every step, it is the place to end what hangs.
        """
        self._bridge.look_around()
        for trial in tune_controller.get_live_trials():
            if trial.status == "RUNNING" and self._bridge.overdue(trial.trial_id):
                ray.kill(trial.temporary_state.ray_actor)  # Tune then finds the trial failed
            if trial.status == "PENDING":
                self._bridge.expect_start(trial.trial_id)


def _trial_name(trial: Any) -> str:
    order = work_order(trial.config)
    return f"trial-{order.trial:04d}-attempt-{order.attempt}"
