"""Laws of the figures of a ranking."""

from dataclasses import fields

import pytest
import torch

from covtool.evaluation.retrieval.metrics import RankingFigures, ranking_figures

SHARES = [field.name for field in fields(RankingFigures) if field.name != "first_rank"]


def figures(*ranks: int) -> dict[str, float]:
    found = ranking_figures(torch.tensor([ranks]), torch.ones(1, len(ranks), dtype=torch.bool))
    return {field.name: getattr(found, field.name).item() for field in fields(RankingFigures)}


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_perfect_ranking_has_all_of_everything(count: int) -> None:
    found = figures(*range(1, count + 1))
    assert {found[name] for name in SHARES} == {1.0}
    assert found["first_rank"] == 1


@pytest.mark.parametrize("name", SHARES)
def test_a_match_that_comes_later_never_helps(name: str) -> None:
    values = [figures(1, 2, last)[name] for last in (3, 4, 8, 100)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] > 0


def test_the_order_of_the_ranks_does_not_matter() -> None:
    assert figures(5, 1, 9) == figures(1, 5, 9) == figures(9, 5, 1)


def test_ranks_that_are_no_matches_count_for_nothing() -> None:
    ranks = torch.tensor([[1, 4, 2, 3], [9, 9, 9, 6]])
    right = torch.tensor([[False, True, True, False], [False, False, False, True]])
    found = ranking_figures(ranks, right)
    for row, expected in enumerate([figures(4, 2), figures(6)]):
        assert {name: getattr(found, name)[row].item() for name in expected} == expected


def test_values_by_hand() -> None:
    found = figures(2, 3, 6)
    assert found["first_rank"] == 2
    assert found["average_precision"] == pytest.approx((1 / 2 + 2 / 3 + 3 / 6) / 3)
    assert found["inverse_penalty"] == pytest.approx(3 / 6)
    assert found["r_precision"] == pytest.approx(2 / 3)
    assert found["average_precision_at_r"] == pytest.approx((1 / 2 + 2 / 3) / 3)
