"""Rows near the best, the cheapest of them, and the front."""

import torch

from covtool.comparing.choosing import judge


def shares(*counts: int, images: int = 400) -> torch.Tensor:
    return torch.stack([(torch.arange(images) < count).double() for count in counts])


def test_cheapest_row_within_the_noise_is_recommended() -> None:
    judged = judge(shares(300, 298, 200), [(2.0, 100, 1.0), (1.0, 100, 1.0), (0.5, 10, 1.0)])
    assert [one.near_best for one in judged] == [True, True, False]
    assert [one.recommended for one in judged] == [False, True, False]
    assert judged[0].difference == 0
    assert judged[2].difference == -25


def test_row_is_on_the_front_unless_another_is_better_at_no_more_cost() -> None:
    judged = judge(shares(300, 290, 200), [(1.0, 9, 1.0), (1.5, 9, 1.0), (0.5, 9, 1.0)])
    assert [one.on_front for one in judged] == [True, False, True]


def test_features_decide_between_rows_of_nearly_the_same_cost() -> None:
    judged = judge(shares(300, 300), [(1.000, 900, 1.0), (1.001, 90, 1.0)])
    assert [one.recommended for one in judged] == [False, True]


def test_too_few_images_tell_no_row_from_the_best() -> None:
    judged = judge(shares(3, 0, images=3), [(1.0, 9, 1.0), (0.5, 9, 1.0)])
    assert all(one.near_best for one in judged)
