"""Columns of numbers, filled row by row; what cannot be drawn is counted."""

import math
from array import array
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from covtool.printable import printable
from covtool.run_files.logs import damaged

LARGEST_DRAWN = 1e100
"""Largest magnitude of a value: beyond it, the axes of a picture would overflow."""
MOST_NUMBERS = 1 << 26
"""Most numbers in all columns of a file: 512 MiB."""

Columns = Mapping[str, np.ndarray]


class NumberColumns:
    """The columns that hold numbers; a column of text, or of nothing, is none.

    Attributes:
        count: Rows so far.
        undrawn: Number of values, by column, that are infinite, not a number or larger than
            `LARGEST_DRAWN`: NaN stands in their place.
    """

    def __init__(self) -> None:
        self.count = 0
        self.undrawn: Counter[str] = Counter()
        self._numbers: dict[str, array] = {}
        self._texts: dict[str, tuple[str, Any]] = {}  # where a column has text, and which

    def add(self, where: str, row: Mapping[str, Any]) -> None:
        """Add a row.

        Args:
            where: Place of the row, for messages.
            row: Numbers, text and None, by column.

        Raises:
            DataError: A column has numbers and text, or there is more than can be held.
        """
        for name, value in row.items():
            kind = type(value)
            if kind is float or kind is int:  # not `isinstance`: true and false are no numbers
                self._put(name, value)
            elif value is not None:
                self._texts.setdefault(name, (where, value))
                self._require_one_kind(name)
        self.count += 1
        if self.count * len(self._numbers) > MOST_NUMBERS:
            raise damaged(where, f"There are more than {MOST_NUMBERS:,} numbers up to here.")

    @property
    def columns(self) -> Columns:
        """Each column, with NaN where a row says nothing of it."""
        for column in self._numbers.values():
            _extend(column, self.count)
        return {name: np.array(column, float) for name, column in self._numbers.items()}

    def _put(self, name: str, value: float) -> None:
        column = self._numbers.get(name)
        if column is None:
            column = self._numbers[name] = array("d")  # 8 bytes a number; a list takes 32
            self._require_one_kind(name)
        if len(column) < self.count:  # rows before had no such column, or nothing in it
            _extend(column, self.count)
        if -LARGEST_DRAWN <= value <= LARGEST_DRAWN:  # which NaN is not
            column.append(value)
        else:
            self.undrawn[name] += 1
            column.append(math.nan)

    def _require_one_kind(self, name: str) -> None:
        if name in self._numbers and name in self._texts:
            where, value = self._texts[name]
            shown = printable(repr(value))
            raise damaged(where, f"{printable(name)} is {shown}, which is not a number.")


def _extend(column: array, count: int) -> None:
    if (missing := count - len(column)) > 0:
        column.extend([math.nan] * missing)
