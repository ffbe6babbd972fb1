"""The search on Ray Tune. Tune places trials, runs actors and notices their deaths; what happens next is our search's.

A trial's attempt is one Tune trial. Whatever ends it, a decision, a crash or a lost node, the next attempt is a new one
that begins from the trial's own checkpoints: recovery within a session and after one is the same act.
"""

from __future__ import annotations

import importlib
import math
import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from analysis.events import FailureKind
from trainables.work import WorkOrder, work_order
from tune_gate.errors import Misuse, SearchFailed, SpecError, TuneGateError
from tune_gate.search import Search
from tune_gate.spec import ResourceSettings, StudySpec
from tune_gate.study_dir import STOP_REQUEST, checkpoint_folder

#: How often the search looks whether nodes came or went, and whether it was asked to stop.
LOOK_AROUND_SECONDS = 1.0

#: Tune's own memory, loggers and handlers are off: the log is the memory, and the display reads the log.
_TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def run_on_ray(search: Search, spec: StudySpec, study: Path) -> None:
    """Run `search` on the Ray that this process is connected to, until it is finished or was asked to stop.

    Raises:
        Misuse: no node can ever hold a trial.
        SearchFailed: Tune gave up, or the log could not be written.
    """
    if capacity(spec.resources) == 0:
        raise Misuse(
            f"no node of the cluster can hold a trial of {spec.resources.cpus:g} CPUs and {spec.resources.gpus:g} "
            "GPUs; lower 'resources' or add a node"
        )
    os.environ.update(_TUNE_SETTINGS)
    bridge = _Bridge(search, spec, study)
    tuner = tune.Tuner(
        tune.with_resources(trainable_class(spec.trainable), {"cpu": spec.resources.cpus, "gpu": spec.resources.gpus}),
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
        raise SearchFailed(f"Ray Tune gave up: {_last_line(str(error))}") from error
    if bridge.broken is not None:
        raise bridge.broken


def capacity(needs: ResourceSettings) -> int:
    """How many trials the cluster, as it is now, holds at once."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]  # Ray's
    return sum(_room(node["Resources"], needs) for node in nodes if node["Alive"])


def trainable_class(name: str) -> Any:
    """The trainable at `name`, as MODULE:CLASS: a `ray.tune.Trainable` that is configured by work orders.

    It has, besides, `check(settings)`, which raises where no trial could run.

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


class _Bridge:
    """What the searcher and the scheduler share: the search, and which Tune trial is which attempt."""

    def __init__(self, search: Search, spec: StudySpec, study: Path) -> None:
        self.search = search
        self.orders: dict[str, WorkOrder] = {}  # by Tune's trial id
        self.broken: BaseException | None = None  # the error that ended the search
        self._spec = spec
        self._study = study
        self._looked = -math.inf
        self._capacity = 0

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
        self._look_around()
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
        return order

    @property
    def over(self) -> bool:
        """Whether nothing is running and nothing will be started."""
        search = self.search
        return self.broken is not None or (search.live == 0 and (search.stopping or search.finished))

    def _look_around(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_AROUND_SECONDS:
            return
        self._looked = now
        room = capacity(self._spec.resources)
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
        self._bridge.orders.pop(trial_id, None)

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
        return str(self._bridge.guard(lambda: self._report(trial.trial_id, result), self.STOP))

    def on_trial_error(self, tune_controller: object, trial: Any) -> None:  # noqa: ARG002
        self._bridge.guard(lambda: self._fail(trial), None)

    def _report(self, tune_id: str, result: dict[str, Any]) -> str:
        order = self._bridge.orders[tune_id]
        for message in result.get("warnings", ()):
            self._bridge.search.warn(message, order.trial)
        metrics = {
            name.removeprefix("metrics/"): value for name, value in result.items() if name.startswith("metrics/")
        }
        action = self._bridge.search.report(order.trial, order.attempt, result["epoch"], metrics)
        return str(self.CONTINUE if action == "continue" else self.STOP)

    def _fail(self, trial: Any) -> None:
        order = self._bridge.orders.get(trial.trial_id)
        if order is None:
            return
        error = _error_of(trial)
        self._bridge.search.fail(
            order.trial, order.attempt, failure_kind(error), failure_message(error), _traceback(error)
        )


def _error_of(trial: Any) -> BaseException | None:
    """What ended a Tune trial; Tune keeps it in a local file before it says so."""
    try:
        error = ray.cloudpickle.loads(Path(trial.pickled_error_file).read_bytes())
    except (OSError, TypeError):  # TypeError: no file was written
        return None
    return error if isinstance(error, BaseException) else None


def failure_kind(error: BaseException | None) -> FailureKind:
    """`lost` where the trial's process or node is gone, `error` where the trial itself raised."""
    lost = isinstance(error, (ray.exceptions.RayActorError, ray.exceptions.NodeDiedError))
    return "lost" if lost and not isinstance(error, ray.exceptions.RayTaskError) else "error"


def failure_message(error: BaseException | None) -> str:
    """One line about why an attempt ended."""
    if error is None:
        return "the worker was lost without a word"
    cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error
    text = _last_line(str(cause)) if isinstance(error, ray.exceptions.RayTaskError) else str(cause).splitlines()[0]
    return f"{type(cause).__name__}: {text}"


def _traceback(error: BaseException | None) -> str:
    return "" if error is None else "".join(traceback.format_exception(error))


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no reason given")


def _trial_name(trial: Any) -> str:
    order = work_order(trial.config)
    return f"trial-{order.trial:04d}-attempt-{order.attempt}"


def _room(resources: dict[str, float], needs: ResourceSettings) -> int:
    """How many trials fit on a node. Ray counts resources in ten-thousandths, hence the small allowance."""
    wanted = {"CPU": needs.cpus, "GPU": needs.gpus}
    return int(min((resources.get(name, 0.0) + 1e-4) // amount for name, amount in wanted.items() if amount))
