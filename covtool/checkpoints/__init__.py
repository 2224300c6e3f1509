"""Read what others wrote, recognize it, and read and write covtool's own files."""

from covtool.checkpoints.foreign import ForeignCheckpoint, read_checkpoint
from covtool.checkpoints.identification import Identification
from covtool.checkpoints.identify import identify
from covtool.checkpoints.loading import load
from covtool.checkpoints.matching import Candidate
from covtool.checkpoints.model_file import save
from covtool.checkpoints.opened import OpenedModel
from covtool.checkpoints.opening import open_model

__all__ = [
    "Candidate",
    "ForeignCheckpoint",
    "Identification",
    "OpenedModel",
    "identify",
    "load",
    "open_model",
    "read_checkpoint",
    "save",
]
