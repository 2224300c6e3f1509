"""`covtool bench step`."""

from typing import TYPE_CHECKING, Annotated

import typer

from covtool_cli import first_checks, loading, options, render
from covtool_cli.commands.bench import settings, tables

if TYPE_CHECKING:
    from covtool.benchmarking.optimizer_steps import OptimizerStepBenchmark

COLUMNS = (
    *("optimizer", "centralized", "ms / step", "ms in the optimizer"),
    *("time / none", "overhead"),
)


def command(
    network: Annotated[
        str | None,
        typer.Option(help="Network, as a timm name or torchvision:NAME; default: resnet18."),
    ] = None,
    shape: Annotated[
        list[str] | None, typer.Option(help="Shape of a batch of images, BxCxHxW; may be repeated.")
    ] = None,
    opt: Annotated[
        list[str] | None,
        typer.Option(help="Optimizer, by timm's name; may be repeated. Default: sgd and adamw."),
    ] = None,
    channels_last: settings.ChannelsLast = False,
    device: options.Device = "auto",
    dtype: settings.Precision = "float32",
    tf32: settings.Tf32 = False,
    repetitions: settings.Repetitions = 15,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure what gradient centralization adds to a training step.

    Example: covtool bench step --network resnet50 --opt sgd
    """
    for name in opt or ():
        first_checks.require_optimizer(name)
    first_checks.require_forms(maps=shape or ())
    first_checks.require_models(network)
    with loading.libraries(as_json=as_json):
        from covtool.benchmarking.optimizer_steps import (
            NETWORK,
            OPTIMIZERS,
            SHAPE,
            benchmark_optimizer_steps,
        )

    spec = settings.benchmark_spec(
        device, tf32=tf32, dtype=dtype, channels_last=channels_last, repetitions=repetitions
    )
    result = benchmark_optimizer_steps(
        network or NETWORK,
        shape or (SHAPE,),
        optimizers=opt or OPTIMIZERS,
        spec=spec,
        track=render.track,
    )
    render.json_object(result) if as_json else _show(result)


def _show(result: "OptimizerStepBenchmark") -> None:
    """Show a table for each shape."""
    for shape in dict.fromkeys(row.shape for row in result.rows):
        rows = [
            (
                *(row.optimizer, row.centralized, f"{row.step_ms:.1f}", f"{row.optimizer_ms:.2f}"),
                *(f"{row.to_plain:.3f}x", f"{100 * row.overhead:+.2f} %"),
            )
            for row in result.rows
            if row.shape == shape
        ]
        title = f"{result.model}, {shape}, {tables.conditions(result.spec, compiled=False)}"
        render.table(title, COLUMNS, rows)
    tables.show_footer(result.machine, result.spec.repetitions)
