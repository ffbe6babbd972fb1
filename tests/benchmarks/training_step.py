"""What a gated training step and epoch cost, against a plain ResNet and the published form of the step.

    python tests/benchmarks/training_step.py [--depths 20 110] [--batch 128] [--repeats 7] [--threads 2]

Variants, timed in turn (A B C A C B ...) in one process, on synthetic 3x32x32 images in 10 classes, float32:

- plain: our code with gate "none"; after an epoch it evaluates on validation.
- ours: our code with the entropy gate; after an epoch it evaluates on validation.
- published: one train-mode forward, the gate's loss backward through the whole trunk with the graph retained,
  the trunk's gradients dropped, the classification loss backward, both steps; NCHW, torch.optim.SGD as it
  comes; after an epoch it evaluates on validation, test and train.

An epoch is a small one with the published proportions 45 : 5 : 10 of train, validation and test: nine
training batches, one of validation and two of test. Medians are reported; every ratio is of
two medians of one run.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from trainables.config import TrialConfig, trial_config
from trainables.gates import EntropyGate
from trainables.resnet import GatedResNet, build_model, pool
from trainables.steps import LossSettings, build_optimizers, step_both

OUTPUT = Path(__file__).parent / "output" / "training_step.txt"
TRAIN_BATCHES, VAL_BATCHES, TEST_BATCHES = 9, 1, 2

Step = Callable[[], None]
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Variant:
    """One way to train: its step, its evaluation of one batch, and how many batches an epoch evaluates."""

    name: str
    step: Step
    evaluate: Step
    evaluated_batches: int

    def epoch(self) -> None:
        for _ in range(TRAIN_BATCHES):
            self.step()
        for _ in range(self.evaluated_batches):
            self.evaluate()


def our_variant(name: str, config: TrialConfig, batch: Batch) -> Variant:
    model = build_model(config, channels=3, classes=10).train()
    optimizers = build_optimizers(model, config)
    settings = LossSettings(config.label_smoothing)

    def step() -> None:
        step_both(model, optimizers, *batch, settings)

    def evaluate() -> None:
        model.eval()
        with torch.inference_mode():
            exits = model(batch[0])
            cross_entropy(exits.logits, batch[1])
            if exits.gate_logits is not None:
                cross_entropy(exits.gate_logits, batch[1])
        model.train()

    return Variant(name, step, evaluate, VAL_BATCHES)


def published_forward(model: GatedResNet, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and gate logits as published: maps are mixed, and nothing is detached."""
    gate = model.gate
    assert isinstance(gate, EntropyGate)
    o1 = model.trunk.shallow_map(images)
    o2 = model.trunk.deep_map(o1)
    gate_logits = gate.logits(pool(o2))
    probabilities = gate_logits.softmax(dim=1)
    entropies = -(probabilities * probabilities.log()).sum(dim=1)
    g = torch.sigmoid(gate.kappa * (entropies - gate.midpoint)).view(-1, 1, 1, 1)
    return model.trunk.classifier(pool(g * o2 + (1 - g) * o1)), gate_logits


def published_variant(config: TrialConfig, batch: Batch) -> Variant:
    model = build_model(config, channels=3, classes=10).to(memory_format=torch.contiguous_format).train()
    rates = {"momentum": config.momentum, "weight_decay": config.weight_decay}
    trunk = SGD(model.trunk_parameters(), lr=config.lr, **rates)
    gate = SGD(model.gate_parameters(), lr=config.lr_gate, **rates)
    images, labels = batch

    def step() -> None:
        logits, gate_logits = published_forward(model, images)
        trunk.zero_grad()
        gate.zero_grad()
        cross_entropy(gate_logits, labels).backward(retain_graph=True)
        gate_gradients = [parameter.grad for parameter in model.gate_parameters()]
        trunk.zero_grad()
        gate.zero_grad()
        cross_entropy(logits, labels).backward()
        for parameter, gradient in zip(model.gate_parameters(), gate_gradients, strict=True):
            parameter.grad = gradient
        gate.step()
        trunk.step()

    def evaluate() -> None:
        model.eval()
        with torch.no_grad():
            logits, gate_logits = published_forward(model, images)
            cross_entropy(logits, labels)
            cross_entropy(gate_logits, labels)
        model.train()

    return Variant("published", step, evaluate, VAL_BATCHES + TEST_BATCHES + TRAIN_BATCHES)


def interleaved(actions: dict[str, Step], repeats: int) -> dict[str, list[float]]:
    """Seconds of every action, `repeats` times, one after the other in each round.

    The order goes through all permutations, so that none always follows the most expensive one.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for order in itertools.islice(itertools.cycle(itertools.permutations(actions)), repeats):
        for name in order:
            start = time.perf_counter()
            actions[name]()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def report(kind: str, seconds: dict[str, list[float]]) -> list[str]:
    median = {name: statistics.median(values) for name, values in seconds.items()}
    lines = [
        f"  {kind:5} {name:9} n={len(values)}  median {median[name]:8.3f} s"
        f"  (min {min(values):.3f}, max {max(values):.3f})"
        for name, values in seconds.items()
    ]
    lines.append(
        f"  {kind:5} ours/plain {median['ours'] / median['plain']:.3f}"
        f"   published/ours {median['published'] / median['ours']:.2f}"
    )
    return lines


def measure(depth: int, batch_size: int, repeats: int, epochs: int) -> list[str]:
    """The report of one depth, as lines."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch_size, 3, 32, 32, generator=generator)
    batch = images, torch.randint(0, 10, (batch_size,), generator=generator)
    config = trial_config({"depth": depth, "block": "basic"})
    variants = (
        our_variant("plain", config.model_copy(update={"gate": "none"}), batch),
        our_variant("ours", config, batch),
        published_variant(config, batch),
    )
    interleaved({variant.name: variant.step for variant in variants}, repeats=1)  # first calls set up kernels
    lines = [f"depth {depth}, batch {batch_size}"]
    lines += report("step", interleaved({variant.name: variant.step for variant in variants}, repeats))
    lines += report("epoch", interleaved({variant.name: variant.epoch for variant in variants}, epochs))
    return lines


def machine() -> str:
    """Processor, threads and versions, in one line."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return (
        f"{model}, {torch.get_num_threads()} thread(s), {torch.backends.cpu.get_cpu_capability()}; "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="cost of a gated training step and epoch")
    parser.add_argument("--depths", type=int, nargs="+", default=[20, 110])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7, help="timed steps of each variant")
    parser.add_argument("--epochs", type=int, default=3, help="timed epochs of each variant")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = [machine()]
    print(lines[0], flush=True)
    for depth in arguments.depths:
        found = measure(depth, arguments.batch, arguments.repeats, arguments.epochs)
        print("\n".join(found), flush=True)
        lines += found
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
