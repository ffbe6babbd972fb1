"""The same trials as other programs keep them: an experiment folder of Ray Tune, and a journal of Optuna."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

Curve = Callable[[int], Iterator[dict[str, float]]]

MEASURE_RAY = """
import json, sys, time
from ray.tune import ExperimentAnalysis, ResultGrid
begin = time.perf_counter()
table = ResultGrid(ExperimentAnalysis(sys.argv[1])).get_dataframe(filter_metric="val_acc", filter_mode="max")
print(json.dumps({"table": time.perf_counter() - begin, "rows": len(table)}))
"""

MEASURE_OPTUNA = """
import json, sys, time
import optuna, pandas
optuna.logging.set_verbosity(optuna.logging.WARNING)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
begin = time.perf_counter()
study = optuna.load_study(study_name="s", storage=JournalStorage(JournalFileBackend(sys.argv[1])))
table = study.trials_dataframe()
print(json.dumps({"table": time.perf_counter() - begin, "rows": len(table)}))
"""


def write_ray(folder: Path, trials: int, curve: Curve) -> Path:
    """An experiment of `trials` trials; its folder."""
    from ray.train._internal.storage import StorageContext
    from ray.tune import PlacementGroupFactory
    from ray.tune.experiment import Trial

    experiment, states = folder / "exp", []
    for number in range(trials):
        name = f"train_{number:05d}"
        storage = StorageContext(str(folder), experiment_dir_name="exp", trial_dir_name=name)
        config = {"lr": 10.0 ** -random.Random(number).uniform(1, 4)}
        trial = Trial("train", stub=True, config=config, trial_id=f"t_{number:05d}", storage=storage)
        rows = [
            {**metrics, "training_iteration": epoch, "trial_id": trial.trial_id, "config": config, "done": False}
            for epoch, metrics in enumerate(curve(number), start=1)
        ]
        (experiment / name).mkdir(parents=True)
        (experiment / name / "params.json").write_text(json.dumps(config))
        (experiment / name / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
        trial.run_metadata.last_result = rows[-1]
        trial.status = Trial.TERMINATED
        trial.placement_group_factory = PlacementGroupFactory([{"CPU": 1}])
        states.append(trial.get_json_state())
    (experiment / "experiment_state-2026-01-01_00-00-00.json").write_text(
        json.dumps({"trial_data": states, "runner_data": {}, "stats": {}})
    )
    return experiment


def write_optuna(folder: Path, trials: int, curve: Curve) -> Path:
    """A journal of a study of `trials` trials; its file."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = folder / "journal.log"
    study = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name="s")
    space = {"lr": optuna.distributions.FloatDistribution(1e-5, 1.0, log=True)}
    for number in range(trials):
        values = {epoch: metrics["val_acc"] for epoch, metrics in enumerate(curve(number), start=1)}
        lr = 10.0 ** -random.Random(number).uniform(1, 4)
        study.add_trial(
            optuna.trial.create_trial(
                params={"lr": lr}, distributions=space, value=max(values.values()), intermediate_values=values
            )
        )
    return path
