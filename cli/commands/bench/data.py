"""`covtool bench data`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covtool_cli import first_checks, loading, options, render
from covtool_cli.commands.bench import settings, tables

if TYPE_CHECKING:
    from covtool.benchmarking.data_loading import LoadingBenchmark

COLUMNS = (
    *("loader", "images / s, first epoch", "second epoch", "second / timm's"),
    *("core ms / image, second", "timm's / second"),
)
WIDE = ("ms waited / step, first epoch", "second epoch")
"""Columns that --wide adds."""


def command(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder with a folder per class; default: synthetic photographs."),
    ] = None,
    img_size: Annotated[
        int, typer.Option(min=1, help="Height and width of the network's images.")
    ] = 224,
    batch_size: options.BatchSize = 32,
    workers: Annotated[
        int, typer.Option("--workers", "-j", min=1, help="Processes that load images.")
    ] = 2,
    color_jitter: Annotated[
        float,
        typer.Option(min=0, help="Strength of color jitter, beside random crops and flips."),
    ] = 0.0,
    step_ms: Annotated[
        float,
        typer.Option(min=0, help="Time that a training step takes on an accelerator, in ms."),
    ] = 50.0,
    long_side: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=20_000,
            help="Enlarge the images to this long side first, with fine noise, as JPEG files of "
            "quality 90: photographs as cameras take them.",
        ),
    ] = None,
    repetitions: settings.Repetitions = 5,
    wide: options.Wide = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure loaders and caches of training images against timm's and torchvision's.

    Example: covtool bench data --data birds/ --workers 4
    """
    first_checks.require_data(data)
    with loading.libraries(as_json=as_json):
        from covtool.benchmarking.data_loading import LoadingBenchmarkSpec, benchmark_loading

    spec = LoadingBenchmarkSpec(
        img_size=img_size,
        batch_size=batch_size,
        workers=workers,
        color_jitter=color_jitter,
        step_ms=step_ms,
        long_side=long_side,
        repetitions=repetitions,
    )
    result = benchmark_loading(data, spec=spec, track=render.track)
    render.json_object(result) if as_json else _show(result, wide=wide)


def _show(result: "LoadingBenchmark", *, wide: bool) -> None:
    """Show one table; covtool's loaders are named by their caches."""
    rows = [
        (
            *(row.loader, f"{row.first:.0f}", f"{row.later:.0f}", tables.times(row.to_timm)),
            *("-" if row.cpu_ms is None else f"{row.cpu_ms:.2f}", tables.times(row.cpu_of_timm)),
            *((f"{row.first_wait_ms:.1f}", f"{row.later_wait_ms:.1f}") if wide else ()),
        )
        for row in result.rows
    ]
    spec = result.spec
    title = (
        f"{result.data}, {result.images} images of {result.files.megapixels:.2g} megapixels and "
        f"{result.files.bits_per_pixel:.2g} bits a pixel at {spec.img_size} px, batches of "
        f"{spec.batch_size}, steps of {spec.step_ms:g} ms, processes: {spec.workers}"
    )
    render.table(title, (*COLUMNS, *(WIDE if wide else ())), rows)
    tables.show_footer(result.machine, spec.repetitions)
