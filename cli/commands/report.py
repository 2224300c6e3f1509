"""`covtool report`."""

from pathlib import Path
from typing import Annotated

import typer

from covtool_cli import options, render


def command(
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
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Write a page about one training run or several, finished or not.

    Example: covtool report runs/finetune/resnet50-isqrt

    Example: covtool report runs/finetune/with-gc runs/finetune/without -o gc-report
    """
    from covtool.reporting.run_page import report_runs

    result = report_runs(runs, output, overwrite=overwrite)
    if as_json:
        render.json_object(result)
    else:
        render.line(f"wrote {result.path}")
