"""The searches that docs/search-defaults.md compares, in parts that can be run apart: some take long, or need more."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import optuna

from tests.benchmarks.foreign_peers import SyneTuneBohb, smac_full_length, smac_multi_fidelity
from tests.benchmarks.peers import OptunaAlone, Peer, RayStock
from tune_gate.replay.recorded import RecordedCurves
from tune_gate.replay.variants import Variant


def _search(scheduler: str, sampler: str) -> Variant:
    return Variant(f"{scheduler}, {sampler}", {"scheduler": {"kind": scheduler}, "sampler": {"kind": sampler}})


def _told(stopped: str) -> Variant:
    sampler = {"kind": "tpe", "stopped": stopped}
    return Variant(f"asha, tpe told {stopped}", {"scheduler": {"kind": "asha"}, "sampler": sampler})


#: Searches that the replay runs.
VARIANTS: Mapping[str, tuple[Variant, ...]] = {
    "ours": tuple(
        _search(scheduler, sampler) for scheduler in ("asha", "promotion") for sampler in ("random", "tpe-rung")
    ),
    "others": (_search("full", "grid"), _search("hyperband", "random"), _search("median", "random")),
    "tpe": tuple(_search(scheduler, "tpe") for scheduler in ("full", "asha", "promotion")),
    "told": (_told("complete"), _told("nothing")),
}

#: Makes a peer: of the curves, its seed, and the budget in full-length trials.
PeerMaker = Callable[[RecordedCurves, int, int], Peer]


def _ray(curves: RecordedCurves, seed: int, _: int) -> Peer:
    return RayStock(curves, seed)


def _optuna(curves: RecordedCurves, seed: int, _: int) -> Peer:
    return OptunaAlone(curves, seed)


def _optuna_halving(curves: RecordedCurves, seed: int, _: int) -> Peer:
    return OptunaAlone(curves, seed, optuna.pruners.SuccessiveHalvingPruner())


def _bohb(curves: RecordedCurves, seed: int, _: int) -> Peer:
    return SyneTuneBohb(curves, seed)


#: Searches of other people; `syne-tune` and `smac` want to be installed.
PEERS: Mapping[str, Mapping[str, PeerMaker]] = {
    "peers": {"Ray's ASHA + OptunaSearch": _ray},
    "optuna": {"Optuna's TPE + MedianPruner": _optuna},
    "optuna-halving": {"Optuna's TPE + SuccessiveHalvingPruner": _optuna_halving},
    "syne-tune": {"Syne Tune's BOHB": _bohb},
    "smac": {"SMAC, multi-fidelity": smac_multi_fidelity, "SMAC, full length": smac_full_length},
}

PARTS: tuple[str, ...] = (*VARIANTS, *PEERS)


def variants_of(parts: tuple[str, ...]) -> list[Variant]:
    return [variant for part in parts for variant in VARIANTS.get(part, ())]


def peers_of(parts: tuple[str, ...]) -> dict[str, PeerMaker]:
    return {name: maker for part in parts for name, maker in PEERS.get(part, {}).items()}
