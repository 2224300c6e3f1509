"""`covtool finetune`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from covtool.specs.finetuning import SETTINGS
from covtool_cli.training import training_command
from covtool_cli.training_results import result_rows

if TYPE_CHECKING:
    from covtool.training import FinetuneResult
    from covtool.training.run.observer import Observer


@contextmanager
def _watch() -> "Iterator[Observer]":
    from covtool.training.run.observer import Observers
    from covtool_cli.learning_rate_figure import LearningRateFigure
    from covtool_cli.progress import training_observer

    with training_observer() as observer:
        yield Observers(observer, LearningRateFigure())


def _show(result: "FinetuneResult") -> None:
    from covtool_cli import render

    render.pairs("Fine-tuned", result_rows(result, early="early, without improvement"))


command = training_command(
    "finetune",
    SETTINGS,
    help="""Train a model on a folder of images or a CSV file.

    Example: covtool finetune resnet50-isqrt.safetensors --data birds/ --gc
    """,
    watch=_watch,
    show=_show,
)
