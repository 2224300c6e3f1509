"""Blocks are as large as memory allows, and there is an end to making them smaller."""

import pytest

from covtool.errors import ArgumentError
from covtool.evaluation.retrieval.memory_plan import COLUMNS, ROWS, UNSEEN, plan_blocks


def area(rows: int, columns: int) -> int:
    return 100 + rows * columns


def test_blocks_are_bounded_even_where_memory_is_not() -> None:
    plan = plan_blocks("It", area, (10**6, 10**6), 10**12)
    assert (plan.rows, plan.columns) == (ROWS, COLUMNS)
    assert plan_blocks("It", area, (3, 7), 10**12).num_bytes == area(3, 7) + UNSEEN


@pytest.mark.parametrize("allowed", [101, 150, 1000, 50_000, 2_000_000])
def test_blocks_fit_and_twice_as_many_rows_would_not(allowed: int) -> None:
    plan = plan_blocks("It", area, (10**6, 10**6), allowed + UNSEEN)
    assert plan.num_bytes - UNSEEN == area(plan.rows, plan.columns) <= allowed
    assert area(2 * plan.rows, plan.columns) > allowed or plan.rows == ROWS


def test_too_little_memory_is_told_with_what_is_needed() -> None:
    with pytest.raises(ArgumentError, match="It needs 64 MB, but --max-memory allows 100 B"):
        plan_blocks("It", area, (10**6, 10**6), 100)
    with pytest.raises(ArgumentError, match="It needs 64 MB"):
        plan_blocks("It", area, (10**6, 10**6), UNSEEN + 100)
    assert plan_blocks("It", area, (10**6, 10**6), UNSEEN + 101).rows == 1


def test_fewer_columns_may_cost_more() -> None:
    """What each block of columns costs, as an index to it does, adds up."""

    def with_index(rows: int, columns: int) -> int:
        return rows + columns + 1000 * -(-64 // columns)

    with pytest.raises(ArgumentError, match="It needs"):
        plan_blocks("It", with_index, (512, 64), UNSEEN + 1064)
    assert plan_blocks("It", with_index, (512, 64), UNSEEN + 1065).rows == 1
