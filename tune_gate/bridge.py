"""Between Ray Tune's trials and the search's attempts: who is who, who is silent, and what a loss was."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis.events import Action, FailureKind
from trainables.work import ProbeOrder, WorkOrder
from tune_gate.errors import SearchFailed
from tune_gate.failures import failure_kind, failure_message, failure_traceback, report_problem
from tune_gate.heartbeat import Heartbeat
from tune_gate.losses import Loss, Losses
from tune_gate.metrics import SearchMetrics
from tune_gate.mirrored_trainable import SUPERSEDED
from tune_gate.placement import living_nodes, own_node
from tune_gate.retention import Retention, kept_ones
from tune_gate.search import Assignment, Search
from tune_gate.spec import StudySpec
from tune_gate.study_dir import STOP_REQUEST, checkpoint_folder

#: How often the search looks whether nodes came or went, and whether it was asked to stop.
LOOK_AROUND_SECONDS = 1.0

#: How often it is found out anew for Ray's metrics where the search stands; they are told it each time around.
TELL_SECONDS = 10.0

#: A trial is taken for hung after so many times the longest epoch seen, but not before the time that the first may
#: take: a worker's start, the reading of the data, a GPU's warm-up.
SILENT_EPOCHS = 10.0
FIRST_REPORT_SECONDS = 1800.0


class Bridge:
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
            probes=self._probes(assignment),
        )
        self.orders[tune_id] = order
        self._heard[tune_id] = time.monotonic()
        return order

    def _probes(self, assignment: Assignment) -> ProbeOrder | None:
        settings = self._spec.scheduler.probe
        return None if settings is None else ProbeOrder(assignment.probed, settings.share)

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
            sys.intern(name.removeprefix("metrics/")): value  # the folds keep every report: let them share the names
            for name, value in result.items()
            if name.startswith("metrics/")
        }
        probed = () if order.probes is None else order.probes.epochs
        problem = report_problem(result, metrics, self._spec.metric, probed)
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
        """Whether a running attempt has been silent for too long; true once. While it is probed it is silent."""
        order = self.orders.get(tune_id)
        epochs = SILENT_EPOCHS + (0.0 if order is None or order.probes is None else order.probes.longest)
        limit = self._spec.failures.silence or max(FIRST_REPORT_SECONDS, epochs * self._slowest)
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
        else:
            self._metrics.tell()
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
