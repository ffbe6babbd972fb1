"""How the published runs of the gated ResNet (GREYC, 2019 and 2020) are named, and what their numbers mean.

    runs_[v]c{10|100}_resnet_gate_classifier{depth}_4770_{bi|scratch}_it{m}g-{a}[c]m-{b}[_lr1by34770|_lr1by347last]
    runs_c{10|100}_resnet_gate_classifier{depth}_{sc|bi}it{m}g-{a}[c]m-{b}_{3248|4770}_{f}

Another data set than `c10` or `c100`, another gate than `gate_classifier` and a text behind the name are kept as they
are written, and noted.

m is gate_iters, the gate's rate 10^-a, the trunk's 10^-b; `c` keeps the gate's rate constant, else it falls tenfold
every 50 epochs; f is the validation fraction. Where it is not named it is 0.1 with the `v`, and without it nothing was
held out: such runs were selected on test, and have no validation accuracy here. 3248 and 4770 say that the trunk's
rate falls after 32k and 48k, or 47k and 70k, batches; `lr1by34770` that it falls to a third at both, and
`lr1by347last` at the first only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any

BATCH_SIZE = 128
IMAGES = 50_000  # of CIFAR before the validation split
TEST_IMAGES = 10_000
DEFAULT_FRACTION = 0.1
GATE_PERIOD = 50

_HEAD = r"runs_(?P<val>v?)(?P<data>[a-z]+\d*)_resnet_(?P<gate_name>[a-z]\w*?)_?(?P<depth>\d+)"
_RATES = r"it(?P<iters>\d+)g-(?P<gate>\d+)(?P<constant>c?)m-(?P<trunk>\d+)"
_FRACTION = r"\d+(?:\.\d+)?(?:e-?\d+)?"
_REST = r"(?:_(?P<rest>.+))?"
_PATTERNS = (
    re.compile(
        rf"{_HEAD}_(?P<drops>4770|3248)_(?P<init>bi|scratch)_{_RATES}(?P<third>_lr1by34770|_lr1by347last)?{_REST}"
    ),
    re.compile(rf"{_HEAD}_(?P<init>bi|sc|scratch){_RATES}_(?P<drops>4770|3248)_(?P<fraction>{_FRACTION}){_REST}"),
)
_DATA = {"c10": "cifar10", "c100": "cifar100"}
_GATE = "gate_classifier"
_BOTTLENECK_DEPTHS = (164,)  # of those that fit both kinds of block, the published model has three layers a unit here
_INIT = {"bi": "baseline", "sc": "scratch", "scratch": "scratch"}
#: Batches after which the trunk's rate falls, in thousands of batches of the usual 352 per epoch, as epochs of these.
_DROPS: Mapping[str, tuple[int, int]] = MappingProxyType({"3248": (91, 136), "4770": (133, 200)})

#: Tags of 2019 and of 2020, as metrics of our own; losses under these names are rescaled.
TAGS: Mapping[str, str] = MappingProxyType(
    {
        "val_accuracy": "val_acc",
        "val_acc": "val_acc",
        "val_loss_cls": "val_loss",
        "val_loss_gatecel": "val_gate_loss",
        "train_accuracy": "train_acc",
        "train_acc": "train_acc",
        "train_loss_cls": "train_loss",
        "train_loss_gatecel": "train_gate_loss",
        "test_accuracy": "test_acc",
        "test_acc": "test_acc",
        "test_loss_cls": "test_loss",
        "test_loss_gatecel": "test_gate_loss",
        "lr": "lr",
        "gate_lr": "lr_gate",
    }
)


@dataclass(frozen=True, slots=True)
class PublishedName:
    """What a name says of its run."""

    settings: Mapping[str, Any]
    images: Mapping[str, int]  # of each split: train, val, test; empty where the data set is not known
    notes: tuple[str, ...] = ()  # what in the name is not of the scheme

    def value_of(self, metric: str, logged: float) -> float:
        """The metric as we have it, from the number that was logged.

        Accuracies were logged in percent, as single-precision numbers: they become the exact fraction of images.
        Losses were logged as the sum of the batches' means over the number of images: they become a mean over images.
        Where the number of images is not known, a loss stays as it was logged.
        """
        split, _, rest = metric.partition("_")
        count = self.images.get(split, 0)
        if not math.isfinite(logged):
            return logged
        if not count:
            return logged / 100.0 if rest == "acc" else logged
        if rest == "acc":
            right = logged / 100.0 * count
            return round(right) / count if abs(right - round(right)) < 0.05 else logged / 100.0
        return logged * count / math.ceil(count / BATCH_SIZE) if rest.endswith("loss") else logged


def decode(name: str, trunk_rates: Sequence[float] = ()) -> PublishedName | None:
    """What the name of a run says; None where it does not follow the scheme.

    `trunk_rates` are the logged rates of its epochs. Where the name gives the drops in batches, the epoch depends on
    how many images there were, and is read there.
    """
    found = next((match for pattern in _PATTERNS if (match := pattern.fullmatch(name))), None)
    if found is None:
        return None
    parts = found.groupdict()
    fraction = float(parts.get("fraction") or (DEFAULT_FRACTION if parts["val"] else 0.0))
    milestones: list[int] = list(_DROPS[parts["drops"]])
    if "fraction" in parts:
        milestones = logged_drops(trunk_rates) or milestones
    if parts.get("third") == "_lr1by347last":
        milestones = milestones[:1]
    settings = {
        "data": _DATA.get(parts["data"], parts["data"]),
        "split": "published",
        "val_fraction": fraction,
        "depth": int(parts["depth"]),
        "block": _block(int(parts["depth"])),
        **({"gate": "entropy", "kappa": 1.0} if parts["gate_name"] == _GATE else {"gate": parts["gate_name"]}),
        "init": _INIT[parts["init"]],
        "batch_size": BATCH_SIZE,
        "lr": 10.0 ** -int(parts["trunk"]),
        "lr_gate": 10.0 ** -int(parts["gate"]),
        "gate_iters": int(parts["iters"]),
        "schedule": "multistep",
        "milestones": milestones,
        "gamma": 0.333 if parts.get("third") else 0.1,
        "warmup_epochs": 1 if int(parts["depth"]) in (110, 164, 1202) else 0,
        "warmup_lr": 0.01,
        "schedule_gate": "constant" if parts["constant"] else "step",
        "gate_period": GATE_PERIOD,
        "gate_gamma": 0.1,
        **({"variant": parts["rest"]} if parts["rest"] else {}),
    }
    val = int(fraction * IMAGES)
    images = {"train": IMAGES - val, "val": val, "test": TEST_IMAGES} if parts["data"] in _DATA else {}
    return PublishedName(settings, images, tuple(_unknown(parts)))


def _block(depth: int) -> str:
    """Basic blocks make 6n+2 layers, bottlenecks 9n+2."""
    return "bottleneck" if depth in _BOTTLENECK_DEPTHS or (depth - 2) % 6 else "basic"


def _unknown(parts: Mapping[str, str]) -> Iterator[str]:
    if parts["data"] not in _DATA:
        yield f"data set {parts['data']!r} is not known, so its losses stay as logged, and accuracies have no interval"
    if parts["gate_name"] != _GATE:
        yield f"{parts['gate_name']!r} is not the published gate classifier; it is kept as the setting `gate`"
    if parts["rest"]:
        yield f"{parts['rest']!r} at its end is not of the published scheme; it is kept as the setting `variant`"


def logged_drops(rates: Sequence[float]) -> list[int]:
    """The milestones that logged rates show: after so many epochs the rate was lower than before.

    >>> logged_drops([0.01, 0.1, 0.1, 0.01])
    [3]
    """
    return [epoch for epoch, (before, after) in enumerate(pairwise(rates), 1) if after < before]


def expected_rates(settings: Mapping[str, Any], epoch: int) -> dict[str, float]:
    """The metrics `lr` and `lr_gate` of an epoch, counted from 1, as the settings have them."""
    past = sum(epoch > milestone for milestone in settings["milestones"])
    trunk = settings["lr"] * settings["gamma"] ** past
    if epoch <= settings["warmup_epochs"]:
        trunk = settings["warmup_lr"]
    steps = epoch // settings["gate_period"] if settings["schedule_gate"] == "step" else 0
    return {"lr": trunk, "lr_gate": settings["lr_gate"] * settings["gate_gamma"] ** steps}
