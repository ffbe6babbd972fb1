"""Ray Tune's ended trials: it keeps each of them, about 50 kB with the history of every metric, until the search ends.

Nothing asks for them again. Our memory is the log, a trial's next attempt is a new trial to Tune, and what Tune writes
down of itself is never read. So they are let go, and the driver's memory stays what the log's folds hold.
"""

from __future__ import annotations

from typing import Any

from ray.tune.progress_reporter import TrialProgressCallback

#: So many ended trials wait until they are let go together, so that few of Tune's steps have more to do.
BATCH = 64


def let_go(controller: Any) -> None:
    """Have `controller`, Tune's own (as of Ray 2.60), forget the trials that have ended and whose worker it has let go.

    One is kept where no other is left: Tune names the first trial when nothing has run for a minute, and takes an empty
    list for one that it has yet to read.
    """
    if len(controller._stopped_trials) + len(controller._failed_trials) < BATCH:
        return
    busy = controller._trial_to_actor.keys() | controller._staged_trials
    ended = (controller._stopped_trials | controller._failed_trials) - busy
    trials = controller.get_trials()
    ended.discard(trials[-1])
    trials[:] = [trial for trial in trials if trial not in ended]
    for kept in (
        controller._stopped_trials,
        controller._failed_trials,
        controller._live_trials,  # where those that failed stay
        controller._trials_to_cache,
    ):
        kept.difference_update(ended)
    for trial in ended:
        controller._trial_metadata.pop(trial.trial_id, None)


class NoProgress(TrialProgressCallback):
    """Stands where Tune would put its own reporter, which keeps every trial to say nothing of it."""

    def on_trial_result(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    def on_trial_error(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    def on_trial_complete(self, *_: Any, **__: Any) -> None:
        """Nothing."""
