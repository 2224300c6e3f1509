"""Several processes that work on one task, or one that works on it alone."""

from covtool.processes.alone import ALONE, Processes
from covtool.processes.joining import current, joined

__all__ = ["ALONE", "Processes", "current", "joined"]
