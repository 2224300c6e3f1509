"""Differences between two files, two runs, or two groups of runs."""

from covtool.differences.comparing import ModelDifference, compare
from covtool.differences.repeated import RepeatedDifference, compare_repeats
from covtool.differences.runs import RunDifference

__all__ = [
    "ModelDifference",
    "RepeatedDifference",
    "RunDifference",
    "compare",
    "compare_repeats",
]
