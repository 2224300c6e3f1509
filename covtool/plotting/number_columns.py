"""Columns of numbers, filled row by row; what cannot be drawn is counted."""

import math
from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from covtool.errors import DataError
from covtool.printable import printable
from covtool.run_files.logs import damaged

LARGEST_DRAWN = 1e100
"""Of a value, its magnitude: beyond it, the axes of a picture would overflow."""
MOST_NUMBERS = 1 << 26
"""In all columns of a file: 512 MiB."""

Columns = Mapping[str, np.ndarray]


class NumberColumns:
    """The columns that hold numbers; a column of text, or of nothing, is none.

    Attributes:
        count: Rows so far.
        undrawn: How many values of a column are NaN in its place, being infinite, not a number or
            larger than `LARGEST_DRAWN`.
    """

    def __init__(self) -> None:
        self.count = 0
        self.undrawn: Counter[str] = Counter()
        self._numbers: dict[str, array] = {}
        self._texts: dict[str, DataError] = {}  # what is wrong, should the column have numbers

    def add(self, where: str, row: Mapping[str, Any]) -> None:
        """Add a row.

        Args:
            where: It is, for messages.
            row: Numbers, text and None, by column.

        Raises:
            DataError: A column has numbers and text, or there is more than can be held.
        """
        for name, value in row.items():
            if isinstance(value, bool) or not isinstance(value, int | float | None):
                self._refuse_text(where, name, value)
            elif value is not None:
                self._put(name, value)
        self.count += 1
        if self.count * len(self._numbers) > MOST_NUMBERS:
            raise damaged(where, f"There are more than {MOST_NUMBERS:,} numbers up to here.")

    @property
    def columns(self) -> Columns:
        """Each column, with NaN where a row says nothing of it."""
        for column in self._numbers.values():
            _extend(column, self.count)
        return {name: np.array(column, float) for name, column in self._numbers.items()}

    def _refuse_text(self, where: str, name: str, value: Any) -> None:
        shown = f"{printable(name)} is {printable(repr(value))}, which is no number."
        problem = self._texts.setdefault(name, damaged(where, shown))
        if name in self._numbers:
            raise problem

    def _put(self, name: str, value: float) -> None:
        if name in self._texts:
            raise self._texts[name]
        column = self._numbers.setdefault(name, array("d"))
        _extend(column, self.count)
        number = _as_float(value)
        if not abs(number) <= LARGEST_DRAWN:
            self.undrawn[name] += 1
            number = math.nan
        column.append(number)


def _extend(column: array, count: int) -> None:
    if (missing := count - len(column)) > 0:
        column.extend([math.nan] * missing)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf
