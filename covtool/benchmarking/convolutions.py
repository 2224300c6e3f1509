"""Every decoupled operator against the convolution whose place it takes."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from covtool.benchmarking.compiling import compiling, require_compiler
from covtool.benchmarking.inputs import BenchmarkSpec, random_features
from covtool.benchmarking.measuring import Cost, describe_machine, measure
from covtool.benchmarking.names import ConvolutionShape, parse_convolution, parse_operator
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.ops.decoupled import patch_norm
from covtool.ops.magnitudes import MAGNITUDES
from covtool.ops.patches import Geometry
from covtool.progress import Track, silent
from covtool.specs import ConvolutionSpec
from covtool.variants import CONVOLUTIONS

# Maps of a ResNet's stages at 224 px, with kernels of a ResNet and of mobile networks.
SHAPES = (
    "16x64x56x56:3x3",
    "16x128x28x28:3x3",
    "16x256x14x14:3x3",
    "16x512x14x14:3x3",
    "16x64x56x56:1x1",
    "16x256x14x14:1x1",
    "16x512x14x14:1x1",
    "16x64x56x56:dw3x3",
    "16x256x14x14:dw3x3",
    "16x512x14x14:dw3x3",
)
BASELINE = "conv"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvolutionCost:
    """An operator at one shape.

    Attributes:
        shape: Map and kernel, as asked for.
        operator: Name as in `all_operators`, or ``conv`` for the convolution.
        compiled: Whether it went through `torch.compile`.
        cost: Time and memory, with gradients to the input and to the filters.
        to_conv: Time over that of the convolution; of the compiled one for compiled forms.
        memory_to_conv: Memory over that of the same convolution.
    """

    shape: str
    operator: str
    compiled: bool
    cost: Cost
    to_conv: float
    memory_to_conv: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvolutionBenchmark:
    """The table.

    Attributes:
        machine: Description of the machine.
        spec: Settings of the measurement.
        rows: One for each operator, by shape, then form.
    """

    machine: str
    spec: BenchmarkSpec
    rows: tuple[ConvolutionCost, ...]


def all_operators() -> tuple[str, ...]:
    """Return every magnitude with the cosine, and tanh with every other angular activation."""
    others = (row.name for row in ANGULAR_ACTIVATIONS if row.name != "cosine")
    return (*MAGNITUDES.names, *(f"tanh:{name}" for name in others))


def operator_spec(name: str) -> ConvolutionSpec:
    """Return the operator of a name like ``tanh`` or ``tanh:sigmoid``.

    Raises:
        ArgumentError: There is no such operator, or it takes no angular activation.
    """
    conv, angular = parse_operator(name)
    if angular is None:
        return ConvolutionSpec(conv=conv)
    return ConvolutionSpec(conv=conv, angular=angular)


def benchmark_convolutions(
    shapes: Sequence[str] = SHAPES,
    *,
    operators: Sequence[str] | None = None,
    spec: BenchmarkSpec | None = None,
    track: Track = silent,
) -> ConvolutionBenchmark:
    """Measure operators on random nonnegative feature maps; α is 1, ρ the mean norm of a patch.

    Args:
        shapes: Shapes like ``16x64x56x56:3x3``: batch, channels, height, width, then the kernel,
            with ``dw`` before it for a depthwise one. As many filters as channels, half a kernel of
            padding, no bias.
        operators: Names as in `operator_spec`; None for `all_operators`. The convolution comes
            along in any case.
        spec: Settings of the measurement.
        track: Shows the progress.

    Raises:
        ArgumentError: A shape or an operator does not exist, or nothing can be compiled here.
    """
    spec = spec or BenchmarkSpec()
    specs = {name: operator_spec(name) for name in operators or all_operators()}
    maps = [(shape, parse_convolution(shape)) for shape in shapes]
    if spec.compiled:
        require_compiler(spec.device)
    rows: list[ConvolutionCost] = []
    for shape, parsed in maps:
        features = random_features(parsed.sizes, spec.device, spec.torch_dtype)
        features = features.contiguous(memory_format=spec.memory_format)
        layers = _layers(_convolution(parsed), specs, features, spec)
        with compiling() if spec.compiled else nullcontext():
            rows += _rows(shape, layers, features, spec, track)
    return ConvolutionBenchmark(machine=describe_machine(spec.device), spec=spec, rows=tuple(rows))


def _layers(
    conv: nn.Conv2d,
    specs: dict[str, ConvolutionSpec],
    features: Tensor,
    spec: BenchmarkSpec,
) -> dict[str, nn.Module]:
    geometry = Geometry(conv.stride, conv.padding, conv.dilation, conv.groups)
    radius = patch_norm(features, conv.kernel_size, geometry).mean().item()
    # The mean norm puts about half of the patches beyond the radius, so both branches run.
    # Without a unit: a running mean of the norms would rescale the radius from pass to pass.
    fixed = {"radius": radius, "unit": "none"}
    layers: dict[str, nn.Module] = {BASELINE: conv}
    for name, chosen in specs.items():
        layer = CONVOLUTIONS[chosen.conv].layer
        layers[name] = layer.from_conv(conv, chosen.model_copy(update=fixed))
    return {
        name: layer.to(features.device, features.dtype, memory_format=spec.memory_format)
        for name, layer in layers.items()
    }


def _rows(
    shape: str,
    layers: dict[str, nn.Module],
    features: Tensor,
    spec: BenchmarkSpec,
    track: Track,
) -> list[ConvolutionCost]:
    # Compiled and plain forms take turns as well: only then is their ratio free of other load.
    forms = {(name, False): layer for name, layer in layers.items()}
    if spec.compiled:
        forms |= {
            # fullgraph: a graph break would be measured as if it were part of the operator
            (name, True): torch.compile(layer, fullgraph=True)
            for name, layer in layers.items()
        }
    costs = measure(forms, features, repetitions=spec.repetitions, track=track)

    def row(name: str, compiled: bool) -> ConvolutionCost:
        cost, plain = costs[name, compiled], costs[BASELINE, compiled]
        return ConvolutionCost(
            shape=shape,
            operator=name,
            compiled=compiled,
            cost=cost,
            to_conv=cost.total_ms / plain.total_ms,
            memory_to_conv=cost.peak_mib / plain.peak_mib,
        )

    return [row(*form) for form in forms]


def _convolution(shape: ConvolutionShape) -> nn.Conv2d:
    channels, (height, width) = shape.sizes[1], shape.kernel
    return nn.Conv2d(
        channels,
        channels,
        (height, width),
        padding=(height // 2, width // 2),
        groups=channels if shape.depthwise else 1,
        bias=False,
    )
