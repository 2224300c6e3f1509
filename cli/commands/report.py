"""`covtool report`."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from covtool.errors import ArgumentError
from covtool.run_files import runs_of
from covtool.specs import as_flag
from covtool_cli import first_checks, loading, options, render


def command(
    ctx: typer.Context,
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of runs; one of several stands for them."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder to make for the page; default: report in the folder of a single RUN.",
        ),
    ] = None,
    evaluate: Annotated[
        bool | None,
        typer.Option(
            "--evaluate/--no-evaluate",
            help="Evaluate the best model of a single RUN on its validation images, and show how "
            "good it is and where wrong. [default: for a single RUN]",
        ),
    ] = None,
    batch_size: options.BatchSize = 32,
    workers: options.Workers = 2,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Write a page about one training run or several, finished or not.

    Example: covtool report runs/finetune/resnet50-isqrt

    Example: covtool report runs/finetune/with-gc runs/finetune/without -o gc-report
    """
    first_checks.require_runs(runs)
    wanted = len(runs_of(runs)) == 1 if evaluate is None else evaluate
    for name in ("batch_size", "workers", "device"):
        if not wanted and options.is_given(ctx, name):
            raise ArgumentError(
                f"{as_flag(name)} has no effect: nothing is evaluated.",
                hint="Leave it out, or report a single RUN without --no-evaluate.",
            )
    with loading.libraries(as_json=as_json):
        from covtool.reporting.run_evaluation import evaluated_run
        from covtool.reporting.run_page import report_runs

    settings = {"batch_size": batch_size, "workers": workers, "device": device}
    evaluator = partial(evaluated_run, **settings, track=render.track) if wanted else None
    result = report_runs(runs, output, evaluator=evaluator, overwrite=overwrite)
    for text in result.notes:
        render.note(f"note: {text}")
    if as_json:
        render.json_object(result)
    else:
        render.line(f"wrote {result.path}")
