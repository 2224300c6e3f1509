"""Ranks and first items are those of a stable sort."""

import pytest
import torch
from torch import Tensor

from covtool.ops.ranking import first_of, order_keys, ranks_of

ROWS, ITEMS = 40, 30


def distances(kind: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(ROWS, ITEMS, generator=generator)
    if kind == "ties":
        values = (values * 2).round() / 4  # -0.0 among them
    if kind == "few ties":
        values[::3, 4] = values[::3, 17]
    if kind == "all equal":
        values = torch.zeros(ROWS, ITEMS)
    if kind == "infinite":
        values[:, 5:25:2] = float("inf")
        values[1::2, 3] = -float("inf")
    return values


KINDS = ("distinct", "few ties", "ties", "all equal", "infinite")


def ranking(row: Tensor) -> list[int]:
    """Python's sort is stable, and knows no difference between -0 and 0."""
    return sorted(range(len(row)), key=row.tolist().__getitem__)


@pytest.mark.parametrize("kind", KINDS)
def test_keys_are_in_the_order_of_a_stable_sort(kind: str) -> None:
    values = distances(kind)
    keys = order_keys(values)
    assert keys.argsort().tolist() == [ranking(row) for row in values]
    assert all(len(set(row)) == ITEMS for row in keys.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_are_those_of_a_stable_sort(kind: str) -> None:
    values = distances(kind)
    items = torch.randint(ITEMS, (ROWS, 7), generator=torch.Generator().manual_seed(1))
    expected = [
        [ranking(row).index(item) + 1 for item in chosen]
        for row, chosen in zip(values, items.tolist(), strict=True)
    ]
    assert ranks_of(values, items).tolist() == expected


@pytest.mark.parametrize("count", [1, 7, ITEMS - 1, ITEMS])
@pytest.mark.parametrize("kind", KINDS)
def test_first_items_are_those_of_a_stable_sort(kind: str, count: int) -> None:
    values = distances(kind)
    assert first_of(values, count).tolist() == [ranking(row)[:count] for row in values]


@pytest.mark.parametrize("kind", KINDS)
def test_distances_are_not_modified(kind: str) -> None:
    values = distances(kind)
    before = values.clone()
    items = torch.zeros(ROWS, 1, dtype=torch.int64)
    ranks_of(values, items), first_of(values, 3), order_keys(values)
    assert torch.equal(values.view(torch.int32), before.view(torch.int32))


def test_rows_need_not_be_contiguous() -> None:
    values = distances("ties")
    turned = values.T.contiguous().T
    items = torch.arange(ITEMS).expand(ROWS, ITEMS)
    assert torch.equal(ranks_of(turned, items), ranks_of(values, items))
    assert torch.equal(first_of(turned, 5), first_of(values, 5))
