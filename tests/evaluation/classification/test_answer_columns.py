"""Columns that grow batch by batch have what was added, in one block."""

import pickle

import pytest
import torch

from covtool.evaluation.classification import columns
from covtool.evaluation.classification.columns import Column


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "LEAST", 4)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float64, torch.float16])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_rows_are_those_of_all_batches_in_order(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    parts = [(10 * torch.rand(size, *shape)).to(dtype) for size in (3, 1, 0, 7, 20, 2)]
    column = Column()
    for part in parts:
        column.add(part)
    assert len(column) == 33
    assert column.rows.dtype == dtype
    assert torch.equal(column.rows, torch.cat(parts))
    again = pickle.loads(pickle.dumps(column))
    assert torch.equal(again.rows, column.rows)
    again.add(parts[0])  # another block: the first column stays as it is
    assert torch.equal(column.rows, torch.cat(parts))


def test_of_a_batch_nothing_but_its_rows_is_kept() -> None:
    column, batch = Column(), torch.rand(2, 1000)
    column.add(batch[:, 0])
    column.add(batch[:, 1])
    assert column.rows.untyped_storage().nbytes() < 100
    batch.zero_()
    assert column.rows.all()


def test_no_rows_are_none() -> None:
    assert len(Column()) == len(Column().rows) == 0
    assert len(pickle.loads(pickle.dumps(Column()))) == 0
