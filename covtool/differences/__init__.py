"""Differences between two files, or between two runs."""

from covtool.differences.comparing import ModelDifference, compare
from covtool.differences.runs import RunDifference

__all__ = ["ModelDifference", "RunDifference", "compare"]
