"""`covtool finetune`."""

from typing import TYPE_CHECKING

from covtool.specs.finetuning import SETTINGS
from covtool_cli.training import result_rows, training_command

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from covtool.training import FinetuneResult
    from covtool.training.run.observer import Observer


def _watch() -> "AbstractContextManager[Observer]":
    from covtool_cli.progress import training_observer

    return training_observer()


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
