"""The text files in the folder of a run, as whoever reads them sees them.

`covtool.training.run.directory` writes them; training that is resumed, plots, and whoever takes a
run for a model read them. A file may be anything by then: the reading is bounded, and ends in an
error that names the file and what is wrong in it.
"""

from covtool.run_files.logs import EpochRow, StepRow, epoch_rows, step_rows
from covtool.run_files.names import (
    ARGUMENTS,
    EXPORTED,
    IMAGE_LIST,
    LOCK,
    METRICS,
    RATES,
    RECIPE,
    STATES,
    SUMMARY,
)
from covtool.run_files.settings import read_settings

__all__ = [
    "ARGUMENTS",
    "EXPORTED",
    "IMAGE_LIST",
    "LOCK",
    "METRICS",
    "RATES",
    "RECIPE",
    "STATES",
    "SUMMARY",
    "EpochRow",
    "StepRow",
    "epoch_rows",
    "read_settings",
    "step_rows",
]
