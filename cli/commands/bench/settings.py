"""Options that several benchmarks share, and what they set up."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from covtool.benchmarking.inputs import BenchmarkSpec

Conv = Annotated[
    list[str] | None,
    typer.Option(
        help="Operator to measure, as NAME or NAME:ANGULAR; may be repeated. Default: every "
        "magnitude, and tanh with every angular activation."
    ),
]
ChannelsLast = Annotated[
    bool, typer.Option("--channels-last", help="Lay maps and filters out with the channels last.")
]
Precision = Annotated[
    Literal["float32", "bfloat16", "float16", "float64"],
    typer.Option(help="Precision of the feature maps; of autocast for training steps."),
]
Tf32 = Annotated[bool, typer.Option("--tf32", help="Let float32 products use TF32 (NVIDIA).")]
Repetitions = Annotated[int, typer.Option(min=1, help="Repetitions; each time is their median.")]


def resolved(device: str, *, tf32: bool) -> Any:
    """Return torch's device for a name, once float32 products may use TF32 where that is wanted."""
    import torch

    from covtool.backbones.device import resolve_device

    if tf32:
        torch.set_float32_matmul_precision("high")
    return resolve_device(device)


def benchmark_spec(device: str, *, tf32: bool, **settings: Any) -> "BenchmarkSpec":
    """Build the spec of a benchmark of layers or steps from its options."""
    from covtool.benchmarking.inputs import BenchmarkSpec

    return BenchmarkSpec(device=resolved(device, tf32=tf32), **settings)
