"""Heads, taps, checkpoints and image sizes side by side, by what each left-out image gets."""

from covtool.comparing.comparing import compare, compare_prepared
from covtool.comparing.preparing import Estimate, PreparedComparison, prepare_comparison
from covtool.comparing.records import ComparedRow, Comparison, LeftOutRow
from covtool.comparing.request import CompareRequest
from covtool.comparing.table_file import write_table

__all__ = [
    "CompareRequest",
    "ComparedRow",
    "Comparison",
    "Estimate",
    "LeftOutRow",
    "PreparedComparison",
    "compare",
    "compare_prepared",
    "prepare_comparison",
    "write_table",
]
