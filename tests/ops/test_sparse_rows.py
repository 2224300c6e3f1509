"""Sparse rows do what dense matrices do."""

import pytest
import torch
from tolerances import FLOAT32
from torch.testing import assert_close

from covtool.ops.sparse_rows import SparseRows, add_minima_


def dense(rows: int, columns: int, *, seed: int) -> torch.Tensor:
    """Nonnegative, mostly zero; an empty row and an empty column among them."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.rand(rows, columns, generator=generator)
    matrix *= torch.rand(rows, columns, generator=generator) < 0.3
    matrix[1], matrix[:, 2] = 0, 0
    return matrix


def sparse(matrix: torch.Tensor) -> SparseRows:
    rows, columns = matrix.nonzero(as_tuple=True)
    return SparseRows.of_entries(rows, columns, matrix[rows, columns], len(matrix))


def as_dense(rows: SparseRows, num_columns: int) -> torch.Tensor:
    matrix = torch.zeros(len(rows), num_columns)
    for row in range(len(rows)):
        entries = slice(int(rows.starts[row]), int(rows.starts[row + 1]))
        columns = rows.columns[entries].tolist()
        assert columns == sorted(set(columns))
        matrix[row, columns] = rows.values[entries]
    return matrix


def test_entries_come_back() -> None:
    matrix = dense(7, 5, seed=0)
    assert torch.equal(as_dense(sparse(matrix), 5), matrix)
    assert sparse(matrix).lengths.tolist() == (matrix != 0).sum(1).tolist()


def test_rows_below_each_other() -> None:
    upper, lower = dense(4, 5, seed=0), dense(3, 5, seed=1)
    joined = SparseRows.joined([sparse(upper), sparse(lower)])
    assert torch.equal(as_dense(joined, 5), torch.cat([upper, lower]))


def test_transposed() -> None:
    matrix = dense(7, 5, seed=0)
    assert torch.equal(as_dense(sparse(matrix).transposed(5), 7), matrix.T)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_means_of_rows(size: int) -> None:
    matrix = dense(9, 6, seed=0)
    groups = torch.randint(9, (5, size), generator=torch.Generator().manual_seed(2))
    groups[0] = 1  # of an empty row
    means = sparse(matrix).mean_of(groups, 6)
    assert_close(as_dense(means, 6), matrix[groups].mean(1), **FLOAT32)


@pytest.mark.parametrize("at_once", [1, 5, 1000])
def test_minima_are_added_up_however_many_at_once(at_once: int) -> None:
    left, right = dense(6, 8, seed=0), dense(9, 8, seed=1)
    total = torch.ones(6, 9)
    add_minima_(total, sparse(left), sparse(right).transposed(8), at_once=at_once)
    expected = 1 + torch.minimum(left[:, None], right[None]).sum(-1)
    assert_close(total, expected, **FLOAT32)


def test_minima_with_nothing_are_nothing() -> None:
    total = torch.ones(2, 3)
    add_minima_(total, sparse(torch.zeros(2, 4)), sparse(torch.ones(3, 4)).transposed(4), at_once=9)
    assert torch.equal(total, torch.ones(2, 3))
