"""How large the blocks of a computation may be, so that they fit into the memory allowed."""

from collections.abc import Callable
from dataclasses import dataclass

from covtool.errors import ArgumentError
from covtool.specs.byte_amounts import format_bytes

ROWS = 512
"""Rows of a block, at most: more make nothing faster."""
COLUMNS = 4096
FLOAT = 4
INDEX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    """A block, and what it takes.

    Attributes:
        rows: Of a block.
        columns: Of a block.
        num_bytes: What the whole computation takes with such blocks, at most.
    """

    rows: int
    columns: int
    num_bytes: int


def plan_blocks(
    what: str, cost: Callable[[int, int], int], shape: tuple[int, int], allowed: int
) -> BlockPlan:
    """The largest blocks that fit.

    Args:
        what: Is planned, for the error: ``The search``.
        cost: Bytes that a number of rows and of columns take; more of them never take less.
        shape: Rows and columns there are.
        allowed: Bytes.

    Raises:
        ArgumentError: Blocks of one row and one column do not fit.
    """
    rows, columns = min(ROWS, shape[0]), min(COLUMNS, shape[1])
    while cost(rows, columns) > allowed:
        if rows == columns == 1:
            needed = format_bytes(cost(1, 1))
            raise ArgumentError(
                f"{what} needs {needed}, but --max-memory allows {format_bytes(allowed)}.",
                hint="Raise --max-memory, or search among fewer images.",
            )
        fewer_rows, fewer_columns = (rows + 1) // 2, (columns + 1) // 2
        if cost(fewer_rows, columns) <= cost(rows, fewer_columns):
            rows = fewer_rows
        else:
            columns = fewer_columns
    return BlockPlan(rows=rows, columns=columns, num_bytes=cost(rows, columns))
