"""The named search spaces, for `space: gate-core` in a study. A new one is one entry in `SPACES`.

Names are settings of a trial; what a space leaves out stays as the study or the trial's defaults have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from search_spaces.dimensions import Choice, Float, Int, LogFloat
from search_spaces.errors import SpaceError, unknown_name
from search_spaces.python_form import parameters, search_space, when
from search_spaces.space import SearchSpace

#: Both learning rates and their schedules: what matters first. Milestones and periods are fractions of a
#: trial's epochs; the published runs, 333 epochs with drops at 133 and 200 and gate drops every 50, are
#: (0.4, 0.6) and 0.15.
GATE_CORE = search_space(
    "gate-core",
    lr=LogFloat(0.01, 0.5),
    lr_gate=LogFloat(1e-4, 0.1),
    gate_iters=Int(1, 3),
    schedule=Choice(("multistep", "cosine", "constant")),
    milestones=when(Choice(((0.4, 0.6), (0.5, 0.75), (0.6, 0.8))), schedule="multistep"),
    schedule_gate=Choice(("constant", "step", "follow")),
    gate_period=when(Choice((0.1, 0.15, 0.25, 0.5)), schedule_gate="step"),
)

#: `gate-core`, regularisation and the gate itself. The two kappas are the published ones, of 2019 and 2020.
GATE_WIDE = GATE_CORE.extended(
    "gate-wide",
    parameters(
        batch_size=Choice((64, 128, 256)),
        momentum=Float(0.8, 0.99),
        weight_decay=LogFloat(1e-5, 1e-2),
        label_smoothing=Choice((0.0, 0.05, 0.1)),
        kappa=Choice((1.0, 80.0 / 23.0)),
        gate_input=Choice(("late", "early")),
        gate_hidden=Choice((128, 256, 512, 1024)),
    ),
)

#: The authors' manual sweep at depth 110, on top of the preset greyc-2019, which says what a cell leaves
#: out: gamma 0.1 where gate_iters is 3, milestones (133, 200) where gamma is 0.1, and 333 epochs.
#: 16 cells, of which the authors ran 12 on CIFAR-10:
#:   gate_iters 3, gamma 0.1: lr_gate x schedule_gate, 4 cells, all published;
#:   gate_iters 1, gamma 0.1: the same 4, all published, also on CIFAR-100;
#:   gate_iters 1, gamma 0.333 after both milestones or the first alone: the same 4 each, of which only
#:     (0.001, step) and (0.01, constant) are published. A condition has one parent, so that the other
#:     two pairs cannot be excluded.
#: Their axis bi / scratch is absent: "bi" never loaded a baseline, so its runs are replicates of scratch.
GREYC_GRID = search_space(
    "greyc-grid",
    lr=0.1,
    gate_iters=Choice((1, 3)),
    lr_gate=Choice((0.001, 0.01)),
    schedule_gate=Choice(("constant", "step")),
    gate_period=when(50, schedule_gate="step"),
    gamma=when(Choice((0.1, 0.333)), gate_iters=1),
    milestones=when(Choice(((133, 200), (133,))), gamma=0.333),
)

#: Every named space.
SPACES: Mapping[str, SearchSpace] = MappingProxyType(
    {space.name: space for space in (GATE_CORE, GATE_WIDE, GREYC_GRID)}
)


def named_space(name: object) -> SearchSpace:
    """The space called `name`; SpaceError, with the nearest name, where there is none."""
    if not isinstance(name, str) or name not in SPACES:
        raise SpaceError(unknown_name("search space", name, SPACES))
    return SPACES[name]
