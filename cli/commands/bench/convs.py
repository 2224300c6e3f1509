"""`covtool bench convs`."""

from typing import TYPE_CHECKING, Annotated

import typer

from covtool.errors import ArgumentError
from covtool_cli import first_checks, loading, options, render
from covtool_cli.commands.bench import settings, tables

if TYPE_CHECKING:
    from covtool.benchmarking.convolutions import ConvolutionBenchmark
    from covtool.benchmarking.training_steps import StepBenchmark

COLUMNS = ("operator", *tables.COST, "time / conv", "memory / conv")
STEP_COLUMNS = ("operator", "convolutions replaced", "ms / step", "time / conv")

Step = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="Network whose training step to measure, in place of single layers."
    ),
]
StepShape = Annotated[
    str | None, typer.Option(help="Shape of the images of --step, BxCxHxW; default: 8x3x224x224.")
]


def command(
    shape: Annotated[
        list[str] | None,
        typer.Option(
            help="Shape of map and kernel, BxCxHxW:3x3, or :dw3x3 for depthwise; may be repeated."
        ),
    ] = None,
    conv: settings.Conv = None,
    step: Step = None,
    step_shape: StepShape = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Measure the forms compiled by torch.compile as well.")
    ] = False,
    channels_last: settings.ChannelsLast = False,
    device: options.Device = "auto",
    dtype: settings.Precision = "float32",
    tf32: settings.Tf32 = False,
    repetitions: settings.Repetitions = 15,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure decoupled operators against the convolutions that they replace.

    Example: covtool bench convs --shape 16x64x56x56:3x3 --conv tanh --conv tanh:sigmoid

    Example: covtool bench convs --step resnet18 --conv tanh
    """
    _refuse_mixed(shape, step, step_shape)
    first_checks.require_forms(operators=conv or (), convolutions=shape or ())
    first_checks.require_forms(maps=[step_shape] if step_shape else ())
    first_checks.require_models(step)
    with loading.libraries(as_json=as_json):
        spec = settings.benchmark_spec(
            device,
            tf32=tf32,
            dtype=dtype,
            compiled=compiled,
            channels_last=channels_last,
            repetitions=repetitions,
        )
    if step:
        from covtool.benchmarking.training_steps import SHAPE, benchmark_steps

        result = benchmark_steps(
            step, step_shape or SHAPE, operators=conv, spec=spec, track=render.track
        )
        render.json_object(result) if as_json else _show_steps(result)
    else:
        from covtool.benchmarking.convolutions import SHAPES, benchmark_convolutions

        result = benchmark_convolutions(
            shape or SHAPES, operators=conv, spec=spec, track=render.track
        )
        render.json_object(result) if as_json else _show_layers(result)


def _refuse_mixed(shape: list[str] | None, step: str | None, step_shape: str | None) -> None:
    """Refuse a shape of layers for a network, and of a network's images for layers."""
    if step and shape:
        raise ArgumentError(
            "covtool bench convs --step takes no --shape.",
            hint="The shape of the network's images is --step-shape.",
        )
    if step_shape and not step:
        raise ArgumentError(
            "covtool bench convs takes no --step-shape without --step.",
            hint="The shape of single layers is --shape.",
        )


def _show_layers(result: "ConvolutionBenchmark") -> None:
    """Show a table for each shape, and another for the compiled forms."""
    for shape, compiled in dict.fromkeys((row.shape, row.compiled) for row in result.rows):
        rows = [
            (
                row.operator,
                *tables.cost(row.cost),
                f"{row.to_conv:.2f}x",
                f"{row.memory_to_conv:.2f}x",
            )
            for row in result.rows
            if (row.shape, row.compiled) == (shape, compiled)
        ]
        render.table(f"{shape}, {tables.conditions(result.spec, compiled)}", COLUMNS, rows)
    tables.show_footer(result.machine, result.spec.repetitions)


def _show_steps(result: "StepBenchmark") -> None:
    """Show a table, and another for the compiled forms."""
    for compiled in dict.fromkeys(row.compiled for row in result.rows):
        rows = [
            (row.operator, row.convolutions, f"{row.step_ms:.1f}", f"{row.to_conv:.2f}x")
            for row in result.rows
            if row.compiled == compiled
        ]
        title = f"{result.model}, {result.shape}, {tables.conditions(result.spec, compiled)}"
        render.table(title, STEP_COLUMNS, rows)
    tables.show_footer(result.machine, result.spec.repetitions)
