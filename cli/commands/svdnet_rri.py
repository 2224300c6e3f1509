"""`covtool svdnet-rri`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from covtool.specs.finetuning import PHASED
from covtool_cli.training import training_command
from covtool_cli.training_results import result_rows

if TYPE_CHECKING:
    from covtool.training import FinetuneResult
    from covtool.training.run.observer import Observer


@contextmanager
def _watch() -> "Iterator[Observer]":
    from covtool.training.run.observer import Observers
    from covtool_cli.half_step_figure import HalfStepFigure
    from covtool_cli.progress import training_observer

    with training_observer() as observer:
        yield Observers(observer, HalfStepFigure())


def _show(result: "FinetuneResult") -> None:
    from covtool.plotting.half_steps import read_half_steps
    from covtool_cli import half_step_tables, render
    from covtool_cli.half_step_figure import FIGURE

    half_step_tables.show("Half-steps", read_half_steps(result.directory))
    figure = result.directory / FIGURE
    rows = result_rows(result, early="early, S(W) has settled")
    render.pairs("Trained", [*rows, *([("figure", figure)] if figure.exists() else [])])


command = training_command(
    "svdnet-rri",
    PHASED,
    help="""Train for retrieval with an Eigenlayer: restraint and relaxation iterations.

    Example: covtool svdnet-rri resnet50-eigen1024.safetensors --data market/ --gc
    """,
    watch=_watch,
    show=_show,
)
