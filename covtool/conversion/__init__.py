"""The way of a checkpoint to a covtool file: open, plan, operate, calibrate, write, verify."""

from covtool.conversion.converting import convert, plan_conversion
from covtool.conversion.records import (
    Agreement,
    ConversionPlan,
    ConversionRequest,
    ConversionResult,
    ConvolutionsReport,
)

__all__ = [
    "Agreement",
    "ConversionPlan",
    "ConversionRequest",
    "ConversionResult",
    "ConvolutionsReport",
    "convert",
    "plan_conversion",
]
