"""Sparse matrices as lists of their rows' entries (CSR), for what torch's own do not offer."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparseRows:
    """A sparse matrix with n rows.

    Attributes:
        starts: Start of each row's entries, and the end of the last, shape (n + 1,), int64.
        columns: Columns of the entries, ascending in each row, int32.
        values: Values of the entries, float32.
    """

    starts: Tensor
    columns: Tensor
    values: Tensor

    @classmethod
    def of_entries(cls, rows: Tensor, columns: Tensor, values: Tensor, num_rows: int) -> Self:
        """Build the matrix from entries in the order of their rows."""
        starts = torch.zeros(num_rows + 1, dtype=torch.int64)
        torch.cumsum(torch.bincount(rows, minlength=num_rows), 0, out=starts[1:])
        return cls(starts=starts, columns=columns.int(), values=values)

    @classmethod
    def joined(cls, parts: "list[SparseRows]") -> "SparseRows":
        """Return the rows of all parts, one below the other."""
        lengths = torch.cat([part.lengths for part in parts])
        starts = torch.zeros(len(lengths) + 1, dtype=torch.int64)
        torch.cumsum(lengths, 0, out=starts[1:])
        return cls(
            starts=starts,
            columns=torch.cat([part.columns for part in parts]),
            values=torch.cat([part.values for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Tensor:
        """Entries of each row, shape (n,)."""
        return self.starts.diff()

    def entries_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the entries of some rows, one row after the other.

        Returns:
            Places in `rows`, and places in `columns` and `values`, shape (m,) each.
        """
        first, lengths = self.starts[rows], self.lengths[rows]
        # Entries that the result has ahead of each row: an exclusive sum.
        before = lengths.cumsum(0) - lengths
        which = torch.repeat_interleave(lengths)
        return which, torch.arange(len(which)) + (first - before)[which]

    def mean_of(self, groups: Tensor, num_columns: int) -> "SparseRows":
        """Return the means of groups of rows.

        Args:
            groups: Rows, shape (B, g).
            num_columns: Columns of the matrix.

        Returns:
            B rows.
        """
        size = groups.shape[1]
        which, places = self.entries_of(groups.flatten())
        # A key for each cell of the result; equal keys, side by side once sorted, are added up.
        keys = which // size * num_columns + self.columns[places]
        keys, order = keys.sort()
        keys, of_entry = keys.unique_consecutive(return_inverse=True)
        values = torch.zeros(len(keys)).index_add_(0, of_entry, self.values[places[order]] / size)
        rows, columns = keys // num_columns, keys % num_columns
        return SparseRows.of_entries(rows, columns, values, len(groups))

    def transposed(self, num_columns: int) -> "SparseRows":
        """Return the transposed matrix."""
        # Stable, so that rows ascend within a column.
        columns, order = self.columns.sort(stable=True)
        rows = torch.repeat_interleave(self.lengths)[order]
        return SparseRows.of_entries(columns, rows, self.values[order], num_columns)


def add_minima_(
    total: Tensor, left: SparseRows, right_by_column: SparseRows, *, at_once: int
) -> None:
    """Add the sums over columns of min(left, right), for each pair of rows, to `total`.

    Args:
        total: Shape (rows of left, rows of right).
        left: Matrix without negative values.
        right_by_column: Transposed matrix without negative values.
        at_once: Approximate number of pairs of entries that are held in memory.
    """
    lengths = right_by_column.lengths[left.columns]
    left_rows = torch.repeat_interleave(left.lengths)
    flat = total.view(-1)
    for part in _parts(lengths, at_once):
        which, places = right_by_column.entries_of(left.columns[part])
        # A zero adds nothing to a sum of minima: only columns that both rows have are visited.
        minima = torch.minimum(left.values[part][which], right_by_column.values[places])
        pairs = left_rows[part][which] * total.shape[1] + right_by_column.columns[places]
        flat.index_add_(0, pairs, minima)


def _parts(lengths: Tensor, at_once: int) -> Iterator[slice]:
    """Yield consecutive entries whose lengths add up to `at_once`, or one more entry than that."""
    part_of = (lengths.cumsum(0) - lengths) // at_once
    ends = torch.unique_consecutive(part_of, return_counts=True)[1].cumsum(0).tolist()
    for start, end in pairwise([0, *ends]):
        yield slice(start, end)
