"""From a checkpoint to a covtool file: open, plan, operate, calibrate, write, verify."""

from covtool.conversion.converting import convert, plan_conversion
from covtool.conversion.records import (
    ConversionPlan,
    ConversionRequest,
    ConversionResult,
    ConvolutionsReport,
    Kept,
)

__all__ = [
    "ConversionPlan",
    "ConversionRequest",
    "ConversionResult",
    "ConvolutionsReport",
    "Kept",
    "convert",
    "plan_conversion",
]
