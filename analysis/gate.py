"""What a gate does, image by image: tables from a survey file, which `tune-gate gate` makes of a checkpoint.

The file is a NumPy archive: `about`, a JSON text (format, trial, epoch, gate, gate_input, classes, macs by part of the
model); `validation_label`, `_mixed`, `_shallow`, `_deep` (classes: the true one and those predicted by the mix and by
either exit) and `_g` (weight of the deep exit), one entry per validation image; with label noise the same as
`training_…`, with `training_noisy`; `hardest` and `easiest`, indices of validation images, and their `pictures`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.copies import fetch_below
from analysis.errors import AnalysisError
from analysis.statistics import wilson_interval

if TYPE_CHECKING:
    from analysis.study import Study

#: Version of the file's layout.
FORMAT = 1

#: Thresholds of `skipping_table`: as many as there are images would say no more.
THRESHOLDS = 101

_QUANTILES = {"g_q05": 0.05, "g_q25": 0.25, "g_median": 0.5, "g_q75": 0.75, "g_q95": 0.95}
_ANSWERS = ("label", "mixed", "shallow", "deep", "g")


@dataclass(frozen=True)
class Survey:
    """A survey file, read."""

    trial: int
    epoch: int
    gate_input: str  # early: the gate reads what the shallow exit reads, so the layers behind it can be skipped
    classes: tuple[str, ...]
    macs: Mapping[str, int]  # multiply-accumulates of one image by part of the model; `skippable` among them
    validation: pd.DataFrame  # a row per image: label, mixed, shallow, deep (classes), g
    training: pd.DataFrame | None  # the same, and noisy: whether the label was replaced; None without label noise
    hardest: NDArray[np.int64]  # validation images, the largest g first
    easiest: NDArray[np.int64]
    pictures: NDArray[np.uint8]  # of both, one behind the other: (n, channels, height, width)


def survey_path(study: Study, trial: int) -> Path:
    """Where the survey of a trial lies."""
    return study.path / "exports" / "gate" / f"trial-{trial:04d}.npz"


def surveys(study: Study) -> dict[int, Path]:
    """The surveys that a study has, by trial."""
    folder = survey_path(study, 0).parent
    fetch_below(study.path, folder.relative_to(study.path).as_posix())
    return {int(path.stem.removeprefix("trial-")): path for path in sorted(folder.glob("trial-[0-9]*.npz"))}


def read_survey(path: Path) -> Survey:
    """The survey at `path`.

    Raises:
        AnalysisError: there is none, or it is damaged or of another version.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(str(arrays["about"]))
        if about["format"] != FORMAT:
            raise AnalysisError(f"{path} is of another version of tune-gate; delete it, and survey again")
        return _survey(about, arrays)
    except FileNotFoundError:
        raise AnalysisError(f"there is no survey {path}; `tune-gate gate` makes it") from None
    except (KeyError, TypeError, OSError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, AnalysisError):
            raise
        raise AnalysisError(f"{path} is damaged ({error}); delete it, and survey again") from None


def _survey(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Survey:
    training = None
    if "training_noisy" in arrays:
        training = _frame(arrays, "training").assign(noisy=arrays["training_noisy"])
    return Survey(
        trial=int(about["trial"]),
        epoch=int(about["epoch"]),
        gate_input=str(about["gate_input"]),
        classes=tuple(about["classes"]),
        macs={str(name): int(count) for name, count in about["macs"].items()},
        validation=_frame(arrays, "validation"),
        training=training,
        hardest=arrays["hardest"],
        easiest=arrays["easiest"],
        pictures=arrays["pictures"],
    )


def _frame(arrays: Mapping[str, NDArray[Any]], split: str) -> pd.DataFrame:
    return pd.DataFrame({name: arrays[f"{split}_{name}"] for name in _ANSWERS}).astype({"g": "float64"})


def gate_groups(survey: Survey) -> pd.DataFrame:
    """How g is distributed among groups of images; one row per group.

    Groups: all validation images; those whose class the mix predicts, and those where it is wrong; each class; and with
    label noise the training images with their right label, and with a wrong one.

    Columns: group, images, g_mean, g_q05, g_q25, g_median, g_q75, g_q95. A group without images is left out.
    """
    images = survey.validation
    right = images["mixed"] == images["label"]
    groups = {
        "validation, all": images["g"],
        "validation, predicted rightly": images["g"][right],
        "validation, predicted wrongly": images["g"][~right],
        **{f"class {name}": images["g"][images["label"] == label] for label, name in enumerate(survey.classes)},
    }
    if survey.training is not None:
        noisy = survey.training["noisy"]
        groups["training, labelled rightly"] = survey.training["g"][~noisy]
        groups["training, labelled wrongly"] = survey.training["g"][noisy]
    rows = [
        {"group": name, "images": len(g), "g_mean": g.mean(), **{key: g.quantile(q) for key, q in _QUANTILES.items()}}
        for name, g in groups.items()
        if len(g)
    ]
    return pd.DataFrame(rows)


def exit_table(survey: Survey) -> pd.DataFrame:
    """Accuracy of the shallow exit, the deep exit and the mix on the validation images, one row each.

    Columns: exit; val_acc, val_acc_low, val_acc_high: a fraction with its 95 % Wilson interval; only_right: images that
    this exit gets right and the mix wrong, only_wrong: the reverse.
    """
    images = survey.validation
    mixed = images["mixed"] == images["label"]
    rows = []
    for name, title in (("shallow", "shallow exit"), ("deep", "deep exit"), ("mixed", "mix")):
        right = images[name] == images["label"]
        low, high = wilson_interval(right.mean(), len(images))
        rows.append(
            {
                "exit": title,
                "val_acc": right.mean(),
                "val_acc_low": float(low),
                "val_acc_high": float(high),
                "only_right": int((right & ~mixed).sum()),
                "only_wrong": int((~right & mixed).sum()),
            }
        )
    return pd.DataFrame(rows)


def skipping_table(survey: Survey) -> pd.DataFrame:
    """Accuracy against compute as the threshold moves: images with g below it take the shallow exit and skip the rest.

    Columns: threshold; skipped, the share of validation images; saved, the share of the plain ResNet's
    multiply-accumulates (convolutions and linear layers) that the model leaves out, its gate paid for; val_acc with
    its interval val_acc_low, val_acc_high. Equal thresholds in effect are given once. The first row skips nothing.

    Raises:
        AnalysisError: the gate is a late one, which reads what the last layer puts out: nothing can be skipped.
    """
    if survey.gate_input != "early":
        raise AnalysisError(f"trial {survey.trial} has a late gate, which needs every layer: nothing can be skipped")
    images = survey.validation
    g = images["g"].to_numpy()
    shallow = (images["shallow"] == images["label"]).to_numpy()
    mixed = (images["mixed"] == images["label"]).to_numpy()
    shares = np.linspace(0.0, 1.0, THRESHOLDS)
    thresholds = np.unique(np.concatenate([[0.0], np.quantile(g, shares), [np.nextafter(g.max(), 2.0)]]))
    skipped = np.array([(g < threshold).mean() for threshold in thresholds])
    accuracy = np.array([np.where(g < threshold, shallow, mixed).mean() for threshold in thresholds])
    low, high = wilson_interval(accuracy, len(images))
    table = pd.DataFrame(
        {
            "threshold": thresholds,
            "skipped": skipped,
            "saved": _saved(survey.macs, skipped),
            "val_acc": accuracy,
            "val_acc_low": low,
            "val_acc_high": high,
        }
    )
    return table.drop_duplicates("skipped", ignore_index=True)


def _saved(macs: Mapping[str, int], skipped: NDArray[np.float64]) -> NDArray[np.float64]:
    plain = sum(macs.values()) - macs["gate"]
    return (skipped * macs["skippable"] - macs["gate"]) / plain


def gate_lines(survey: Survey) -> list[str]:
    """The survey in sentences."""
    groups = {row["group"]: row for row in gate_groups(survey).to_dict("records")}
    everyone = groups["validation, all"]
    images = survey.validation
    lines = [
        f"gate of trial {survey.trial} after epoch {survey.epoch}, {len(images):,} validation images: "
        f"g {everyone['g_mean']:.3f} on average, {everyone['g_q05']:.3f} to {everyone['g_q95']:.3f} for 90 % of them"
    ]
    pairs = [("validation, predicted rightly", "validation, predicted wrongly")]
    pairs.append(("training, labelled rightly", "training, labelled wrongly"))
    for first, second in pairs:
        if first in groups and second in groups:
            chance = _chance_larger(survey, second)
            lines.append(
                f"{second}: g {groups[second]['g_mean']:.3f}; rightly: {groups[first]['g_mean']:.3f}; "
                f"a wrong one has the larger g in {chance:.0%} of pairs (50 %: g knows nothing of it)"
            )
    exits = exit_table(survey).set_index("exit")["val_acc"]
    lines.append("accuracy: " + ", ".join(f"{name} {100.0 * value:.2f} %" for name, value in exits.items()))
    if survey.gate_input == "early":
        lines.append(_best_saving(skipping_table(survey)))
    else:
        lines.append("a late gate reads what the last layer puts out, so no layer can be skipped")
    return lines


def _best_saving(table: pd.DataFrame) -> str:
    free = table[table["val_acc"] >= table["val_acc"].iloc[0]]
    row = free.loc[free["saved"].idxmax()]
    if row["saved"] <= 0.0:
        return "skipping any image costs accuracy, or saves less than the gate itself costs"
    return (
        f"without loss of accuracy here, {row['skipped']:.0%} of the images skip the rest of stage 3 (g below "
        f"{row['threshold']:.3f}), which saves {row['saved']:.1%} of the multiply-accumulates, the gate paid for; the "
        "threshold is chosen on these very images, so expect a little less of others"
    )


def _chance_larger(survey: Survey, wrong_group: str) -> float:
    """The chance that a wrong image has the larger g of a wrong and a right one (the area under the ROC curve)."""
    if wrong_group.startswith("training") and survey.training is not None:
        g, wrong = survey.training["g"], survey.training["noisy"]
    else:
        g, wrong = survey.validation["g"], survey.validation["mixed"] != survey.validation["label"]
    ranks = g.rank()  # equal values share their mean rank, and count for half
    count, others = int(wrong.sum()), int((~wrong).sum())
    return float((ranks[wrong].sum() - count * (count + 1) / 2) / (count * others))
