"""Rows near the best, the cheapest of them, and the front."""

import torch

from covtool.comparing.choosing import judge


def shares(*counts: int, images: int = 400) -> torch.Tensor:
    return torch.stack([(torch.arange(images) < count).double() for count in counts])


def test_cheapest_row_within_the_noise_is_recommended() -> None:
    numbers = torch.arange(400)
    # 100 right, then 18 that one of the two gets: 10 to 8, and 14 to 4.
    one = [(numbers < 110), (numbers < 100) | ((numbers >= 110) & (numbers < 118))]
    other = (numbers < 96) | ((numbers >= 110) & (numbers < 114))
    judged = judge(
        torch.stack([*one, other, numbers < 50]).double(),
        [(2.0, 9, 1.0), (1.0, 9, 1.0), (0.8, 9, 1.0), (0.5, 9, 1.0)],
    )
    assert [one.near_best for one in judged] == [True, True, False, False]
    assert [one.recommended for one in judged] == [False, True, False, False]
    assert [one.difference for one in judged] == [0, -0.5, -2.5, -15]


def test_cheaper_row_beyond_one_standard_error_is_near_but_not_recommended() -> None:
    numbers = torch.arange(400)
    # 9 images against 2: -1.75 points, 1.75 / 0.83 standard errors of 0.83.
    cheap = (numbers < 91) | ((numbers >= 100) & (numbers < 103))
    judged = judge(torch.stack([numbers < 100, cheap]).double(), [(2.0, 9, 1.0), (1.0, 9, 1.0)])
    assert [one.near_best for one in judged] == [True, True]
    assert [one.recommended for one in judged] == [True, False]


def test_images_of_a_group_are_one_draw() -> None:
    groups = torch.arange(400) // 40
    better, worse = torch.arange(400) < 240, torch.arange(400) < 200
    costs = [(2.0, 9, 1.0), (1.0, 9, 1.0)]
    values = torch.stack([better, worse]).double()
    # Forty images, all of one group: certain if they were drawn one by one.
    assert [one.near_best for one in judge(values, costs)] == [True, False]
    assert [one.near_best for one in judge(values, costs, groups=groups)] == [True, True]


def test_row_is_on_the_front_unless_another_is_better_at_no_more_cost() -> None:
    judged = judge(shares(300, 290, 200), [(1.0, 9, 1.0), (1.5, 9, 1.0), (0.5, 9, 1.0)])
    assert [one.on_front for one in judged] == [True, False, True]


def test_features_decide_between_rows_of_nearly_the_same_cost() -> None:
    judged = judge(shares(300, 300), [(1.000, 900, 1.0), (1.001, 90, 1.0)])
    assert [one.recommended for one in judged] == [False, True]


def test_too_few_images_tell_no_row_from_the_best() -> None:
    judged = judge(shares(3, 0, images=3), [(1.0, 9, 1.0), (0.5, 9, 1.0)])
    assert all(one.near_best for one in judged)
