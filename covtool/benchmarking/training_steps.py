"""A training step of a whole network, with its convolutions and with operators in their places."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covtool.backbones.create import create_model, parse_name
from covtool.benchmarking.compiling import compiling, require_compiler
from covtool.benchmarking.convolutions import BASELINE, all_operators, operator_spec
from covtool.benchmarking.inputs import BenchmarkSpec, feature_map
from covtool.benchmarking.measuring import describe_machine, measure_calls
from covtool.progress import Track, silent
from covtool.specs import ConvolutionSpec, InputSpec
from covtool.surgery import apply_convolutions, plan_convolutions

SHAPE = "8x3x224x224"
NUM_CLASSES = 1000  # as ImageNet has


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """A network's training step.

    Attributes:
        operator: Operator in place of its convolutions, or ``conv`` for the network as it is.
        compiled: Whether it went through `torch.compile`.
        convolutions: Number of convolutions that were replaced.
        step_ms: Median time of forward, cross entropy, backward, and a step of SGD with momentum.
        to_conv: Time over that of the network as it is, compiled if this one is.
    """

    operator: str
    compiled: bool
    convolutions: int
    step_ms: float
    to_conv: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBenchmark:
    """The table.

    Attributes:
        machine: Description of the machine.
        model: Name of the architecture.
        shape: Shape of the batch of images.
        spec: Settings of the measurement.
        rows: One for each operator, by form.
    """

    machine: str
    model: str
    shape: str
    spec: BenchmarkSpec
    rows: tuple[StepCost, ...]


def benchmark_steps(
    model: str,
    shape: str = SHAPE,
    *,
    operators: Sequence[str] | None = None,
    spec: BenchmarkSpec | None = None,
    track: Track = silent,
) -> StepBenchmark:
    """Measure training steps on random images, all networks in turns.

    The operators are those of `covtool convert --conv NAME` without calibration, in all
    convolutions but stem and downsampling shortcuts. In half precision the steps run under
    autocast.

    Args:
        model: timm name, or torchvision's after ``torchvision:``.
        shape: Images, as ``8x3x224x224``.
        operators: Names as in `operator_spec`; None for `all_operators`.
        spec: Settings of the measurement.
        track: Shows the progress.

    Raises:
        ArgumentError: A name or the shape does not exist, or nothing can be compiled here.
        SurgeryError: No convolution of the network can be replaced.
    """
    spec = spec or BenchmarkSpec()
    chosen = {name: operator_spec(name) for name in operators or all_operators()}
    wide = torch.float64 if spec.dtype == "float64" else torch.float32
    images = feature_map(shape, spec.device, wide)
    images = images.contiguous(memory_format=spec.memory_format)
    if spec.compiled:
        require_compiler(spec.device)
    networks, replaced = _networks(model, chosen, images)
    with compiling() if spec.compiled else nullcontext():
        forms = {(name, False): network for name, network in networks.items()}
        if spec.compiled:
            forms |= {(name, True): torch.compile(network) for name, network in networks.items()}
        steps = {form: training_step(network, images, spec) for form, network in forms.items()}
        times = measure_calls(steps, images.device, repetitions=spec.repetitions, track=track)
    rows = tuple(
        StepCost(
            operator=name,
            compiled=compiled,
            convolutions=replaced[name],
            step_ms=times[name, compiled],
            to_conv=times[name, compiled] / times[BASELINE, compiled],
        )
        for name, compiled in forms
    )
    machine = describe_machine(spec.device)
    return StepBenchmark(machine=machine, model=model, shape=shape, spec=spec, rows=rows)


def training_step(network: nn.Module, images: Tensor, spec: BenchmarkSpec) -> Callable[[], None]:
    """Return a function that trains `network` on `images` for one step, with labels of its own."""
    gradient = gradient_pass(network, images, spec)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        gradient()
        optimizer.step()

    return step


def gradient_pass(network: nn.Module, images: Tensor, spec: BenchmarkSpec) -> Callable[[], None]:
    """Return a function that adds the gradient of the cross entropy, with labels of its own."""
    # Autocast keeps the weights in float32, as in training; only float64 changes them.
    network.to(images.device, images.dtype, memory_format=spec.memory_format).train()
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(NUM_CLASSES, (len(images),), generator=generator).to(images.device)
    dtype, half = spec.torch_dtype, spec.torch_dtype in (torch.bfloat16, torch.float16)
    autocast = partial(torch.autocast, images.device.type, dtype, enabled=half)

    def compute() -> None:
        with autocast():
            loss = F.cross_entropy(network(images), labels)
        loss.backward()

    return compute


def _networks(
    model: str, chosen: dict[str, ConvolutionSpec], images: Tensor
) -> tuple[dict[str, nn.Module], dict[str, int]]:
    base, _ = parse_name(model)
    plain = create_model(base, num_classes=NUM_CLASSES)
    # Planning runs the network once to find its maps, so it needs the size of the images.
    expected = InputSpec(channels=images.shape[1], size=tuple(images.shape[2:]))
    networks, replaced = {BASELINE: plain}, {BASELINE: 0}
    for name, spec in chosen.items():
        plan = plan_convolutions(plain, spec, expected)
        networks[name], replaced[name] = apply_convolutions(plain, plan), len(plan.layers)
    return networks, replaced
