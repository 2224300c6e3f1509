"""The text files in the folder of a run, as whoever reads them sees them.

`covtool.training.run.directory` writes them; training that is resumed, plots, and whoever takes a
run for a model read them. A file may be anything by then: the reading is bounded, and ends in an
error that names the file and what is wrong in it.
"""

from covtool.run_files.finals import (
    FinalFigures,
    doubts_of,
    final_figures,
    notes_on_doubts,
    notes_on_run,
)
from covtool.run_files.logs import (
    EpochRow,
    SpectrumRow,
    StepRow,
    epoch_rows,
    spectrum_rows,
    step_rows,
)
from covtool.run_files.names import (
    ARGUMENTS,
    EXPORTED,
    FOLDS,
    IMAGE_INDEX,
    IMAGE_LIST,
    LOCK,
    METRICS,
    NOTES,
    PREDICTIONS,
    RATES,
    RECIPE,
    REPEATS,
    RESULT,
    SPECTRA,
    STATES,
    SUMMARY,
)
from covtool.run_files.notes import notes_in
from covtool.run_files.repeats import is_repeats, named_runs, runs_in, runs_of, runs_to_compare
from covtool.run_files.resumable import require_resumable
from covtool.run_files.settings import read_settings

__all__ = [
    "ARGUMENTS",
    "EXPORTED",
    "FOLDS",
    "IMAGE_INDEX",
    "IMAGE_LIST",
    "LOCK",
    "METRICS",
    "NOTES",
    "PREDICTIONS",
    "RATES",
    "RECIPE",
    "REPEATS",
    "RESULT",
    "SPECTRA",
    "STATES",
    "SUMMARY",
    "EpochRow",
    "FinalFigures",
    "SpectrumRow",
    "StepRow",
    "doubts_of",
    "epoch_rows",
    "final_figures",
    "is_repeats",
    "named_runs",
    "notes_in",
    "notes_on_doubts",
    "notes_on_run",
    "read_settings",
    "require_resumable",
    "runs_in",
    "runs_of",
    "runs_to_compare",
    "spectrum_rows",
    "step_rows",
]
