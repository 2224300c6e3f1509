"""`covtool bench`."""

import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from covtool_cli import options, render

if TYPE_CHECKING:
    from covtool.benchmarking.heads import HeadBenchmark


def command(
    what: Annotated[Literal["heads"], typer.Argument(help="What to measure.")] = "heads",
    shape: Annotated[
        list[str] | None,
        typer.Option(help="Feature maps, BxDxHxW; several: --shape A --shape B."),
    ] = None,
    head: Annotated[
        list[str] | None, typer.Option(help="Only these, as NAME or mpn:RULE; default: all.")
    ] = None,
    device: options.Device = "auto",
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16", "float64"],
        typer.Option(help="Of the feature maps."),
    ] = "float32",
    tf32: Annotated[
        bool, typer.Option("--tf32", help="Let float32 products use TF32 (NVIDIA).")
    ] = False,
    repetitions: Annotated[int, typer.Option(min=1, help="Times are medians of so many.")] = 15,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure time, memory and error of the heads, side by side in one process.

    Example: covtool bench heads --shape 16x256x7x7 --head isqrt --head mpn
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler's own chatter, before torch loads
    import torch

    from covtool.backbones.device import resolve_device
    from covtool.benchmarking.heads import SHAPES, benchmark_heads

    if tf32:
        torch.set_float32_matmul_precision("high")
    result = benchmark_heads(
        shape or SHAPES,
        heads=head,
        device=resolve_device(device),
        dtype=dtype,
        repetitions=repetitions,
        track=render.track,
    )
    if as_json:
        render.json_object(result)
        return
    _show(result)


def _show(result: "HeadBenchmark") -> None:
    for shape in dict.fromkeys(row.shape for row in result.rows):
        rows = [
            (
                row.head,
                f"{row.cost.forward_ms:.2f}",
                f"{row.cost.backward_ms:.2f}",
                f"{row.cost.peak_mib:.1f}",
                f"{row.parameters:,}",
                f"{row.to_gap:.0f}x",
                f"{row.to_textbook:.2f}x",
                "" if row.root_error is None else f"{row.root_error:.1e}",
            )
            for row in result.rows
            if row.shape == shape
        ]
        render.table(f"{shape}, {result.dtype}", _COLUMNS, rows)
    render.line(f"{result.machine}; medians of {result.repetitions} passes")


_COLUMNS = (
    "head",
    "forward ms",
    "backward ms",
    "peak MiB",
    "parameters, 1000 classes",
    "time / gap",
    "textbook / time",
    "error of the root",
)
