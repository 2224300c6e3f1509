"""Models of one structure become one: soups, and the line between two."""

from covtool.averaging.averaging import average
from covtool.averaging.records import AverageRequest, AverageResult

__all__ = ["AverageRequest", "AverageResult", "average"]
