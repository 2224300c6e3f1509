"""The cost of gradient centralization: a training step of a network, with and without."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import nn

from covtool.backbones.create import create_model, parse_name
from covtool.benchmarking.inputs import BenchmarkSpec, feature_map
from covtool.benchmarking.measuring import describe_machine, in_turns, now
from covtool.benchmarking.training_steps import NUM_CLASSES, SHAPE, gradient_pass
from covtool.progress import Track, silent
from covtool.specs import TrainingSpec
from covtool.training.centralization.hooks import (
    Centralization,
    centralize_gradients,
    layer_weights,
)
from covtool.training.parts.optimizer import build_optimizer

NETWORK = "resnet18"
OPTIMIZERS = ("sgd", "adamw")
WEIGHT_DECAY = 1e-4  # coupled decay is centralized with the gradient, which costs a pass
LR = 1e-6  # the weights stay finite, however many steps are measured

PLAIN = "none"
CENTRALIZED = {
    "gradient": {"on": "gradient", "in_place": True},
    "gradient, p.grad kept": {"on": "gradient"},
    "update": {"on": "update"},
}
"""Centralization by ``--gc``, by default of `centralize_gradients`, and by ``--gc-on update``."""

Times = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerStepCost:
    """A training step.

    Attributes:
        shape: Shape of the batch of images.
        optimizer: timm's name.
        centralized: Tensor that is centralized, or ``none``.
        step_ms: Median time of forward, cross entropy, backward, the optimizer's step and, where
            something is centralized, the norm of what that removed.
        optimizer_ms: Median time of the optimizer's part.
        to_plain: Time of the step over that without centralization.
        overhead: Time that centralization adds to the optimizer's part, as a share of the plain
            step: the same as ``to_plain - 1`` but for the noise of forward and backward.
    """

    shape: str
    optimizer: str
    centralized: str
    step_ms: float
    optimizer_ms: float
    to_plain: float
    overhead: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerStepBenchmark:
    """The table.

    Attributes:
        machine: Description of the machine.
        model: Name of the architecture.
        spec: Settings of the measurement.
        rows: One for each centralized tensor, by shape, then optimizer.
    """

    machine: str
    model: str
    spec: BenchmarkSpec
    rows: tuple[OptimizerStepCost, ...]


def benchmark_optimizer_steps(
    model: str = NETWORK,
    shapes: Sequence[str] = (SHAPE,),
    *,
    optimizers: Sequence[str] = OPTIMIZERS,
    spec: BenchmarkSpec | None = None,
    track: Track = silent,
) -> OptimizerStepBenchmark:
    """Measure training steps on random images, all optimizers in turns on one network.

    The weights are those that ``covtool finetune --gc`` centralizes. In half
    precision the forward pass runs under autocast.

    Args:
        model: timm name, or torchvision's after ``torchvision:``.
        shapes: Shapes of batches of images, as ``8x3x224x224``.
        optimizers: timm's names.
        spec: Settings of the measurement; nothing is compiled.
        track: Shows the progress.

    Raises:
        ArgumentError: A name or a shape does not exist.
    """
    spec = spec or BenchmarkSpec()
    base, _ = parse_name(model)
    network = create_model(base, num_classes=NUM_CLASSES)
    rows = [
        row
        for shape in shapes
        for row in _rows(network, shape, tuple(dict.fromkeys(optimizers)), spec, track)
    ]
    machine = describe_machine(spec.device)
    return OptimizerStepBenchmark(machine=machine, model=model, spec=spec, rows=tuple(rows))


def _rows(
    network: nn.Module, shape: str, optimizers: Sequence[str], spec: BenchmarkSpec, track: Track
) -> list[OptimizerStepCost]:
    wide = torch.float64 if spec.dtype == "float64" else torch.float32
    images = feature_map(shape, spec.device, wide).contiguous(memory_format=spec.memory_format)
    gradient = gradient_pass(network, images, spec)
    kinds = {PLAIN: None, **CENTRALIZED}
    steps = {
        (name, kind): _step(network, gradient, name, options, images.device)
        for name in optimizers
        for kind, options in kinds.items()
    }
    times = in_turns(steps, spec.repetitions, track)
    medians = {
        key: (1e3 * median(step for step, _ in found), 1e3 * median(own for _, own in found))
        for key, found in times.items()
    }
    return [_cost(shape, key, medians) for key in medians]


def _step(
    network: nn.Module,
    gradient: Callable[[], None],
    name: str,
    options: dict | None,
    device: torch.device,
) -> Callable[[], Times]:
    """Return a function that takes a step and returns its time, and the optimizer's, in seconds."""
    groups = [{"params": list(network.parameters()), "weight_decay": WEIGHT_DECAY, "lr_scale": 1.0}]
    optimizer = build_optimizer(groups, TrainingSpec(opt=name, lr=LR))
    handle: Centralization | None = None
    if options is not None:
        handle = centralize_gradients(optimizer, only=layer_weights(network), **options)

    def step() -> Times:
        start = now(device)
        optimizer.zero_grad()
        gradient()
        middle = now(device)
        optimizer.step()
        if handle is not None:
            handle.removed_norm().item()  # a run logs it with every step, so it counts
        end = now(device)
        return end - start, end - middle

    return step


def _cost(
    shape: str, key: tuple[str, str], medians: dict[tuple[str, str], Times]
) -> OptimizerStepCost:
    name, kind = key
    (step, own), (plain_step, plain_own) = medians[key], medians[name, PLAIN]
    return OptimizerStepCost(
        shape=shape,
        optimizer=name,
        centralized=kind,
        step_ms=step,
        optimizer_ms=own,
        to_plain=step / plain_step,
        overhead=(own - plain_own) / plain_step,
    )
