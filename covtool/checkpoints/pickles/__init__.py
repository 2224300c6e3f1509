"""A reader of what torch.save wrote; nothing that a file names is imported, built or run."""

from covtool.checkpoints.pickles.archive import read_archive, require_whole
from covtool.checkpoints.pickles.copying import in_memory
from covtool.checkpoints.pickles.legacy import read_legacy
from covtool.checkpoints.pickles.mapped import MappedFile
from covtool.checkpoints.pickles.plain import plain
from covtool.checkpoints.pickles.records import (
    CodeError,
    GlobalName,
    PickleError,
    Placeholder,
    UnusableTensor,
)
from covtool.checkpoints.pickles.whole_models import is_whole_model

__all__ = [
    "CodeError",
    "GlobalName",
    "MappedFile",
    "PickleError",
    "Placeholder",
    "UnusableTensor",
    "in_memory",
    "is_whole_model",
    "plain",
    "read_archive",
    "read_legacy",
    "require_whole",
]
