"""Numbers that come batch by batch, in one block of memory that grows.

A small tensor that is kept from each batch lies in memory behind the large ones that it was made
from: with 100,000 classes, their place is then too small for those of the next batch, and a process
grows by 25 MB with every batch, as if it kept the logits.
"""

import torch
from torch import Tensor

LEAST = 1 << 16
"""Rows of the first block."""


class Column:
    """Rows of one shape and dtype, on the CPU."""

    def __init__(self) -> None:
        self._block: Tensor | None = None
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, rows: Tensor) -> None:
        """Add the rows of a batch, (B, ...); they are copied."""
        rows, end = rows.detach().cpu(), self._length + len(rows)
        if self._block is None or end > len(self._block):
            block = rows.new_empty(max(LEAST, 2 * end), *rows.shape[1:])
            if self._block is not None:
                block[: self._length] = self._block[: self._length]
            self._block = block
        self._block[self._length : end] = rows
        self._length = end

    @property
    def rows(self) -> Tensor:
        """All rows so far, (N, ...); of none, a float64 tensor of shape (0,)."""
        if self._block is None:
            return torch.empty(0, dtype=torch.float64)
        return self._block[: self._length]

    def __reduce__(self) -> tuple:
        # Without the room that is left: columns are sent between processes.
        return _column_of, (self.rows.clone(),)


def _column_of(rows: Tensor) -> Column:
    column = Column()
    if len(rows):
        column.add(rows)
    return column
