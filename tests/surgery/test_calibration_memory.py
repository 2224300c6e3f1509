"""Laws of the plan for a calibration's memory."""

from itertools import pairwise, product

import pytest

from covtool.surgery.calibration_memory import (
    LARGEST_DUAL,
    LARGEST_PRIMAL,
    LARGEST_SUBSPACE,
    MemoryPlan,
    plan_memory,
)

SIZES = [
    *product((3, 36, 833, 5994, 20_000, 100_000, 2_000_000), (36, 1280, 8256, 32_896), (2, 1000))
]
LIMITS = (1e-6, 1e-3, 0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 64.0, 1e6)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_what_is_planned_fits(size: tuple[int, int, int]) -> None:
    images, features, classes = size
    for limit in LIMITS:
        plan = plan_memory(images, features, limit, classes=classes)
        assert plan.needed_gib <= limit or plan.subspace == 1
        unknowns = plan.subspace or (images if plan.side == "rows" else features)
        assert unknowns <= (LARGEST_DUAL if plan.side == "rows" else LARGEST_PRIMAL)
        assert plan.keep or plan.side == "features"
        if plan.subspace is not None:
            assert 1 <= plan.subspace <= min(LARGEST_SUBSPACE, features)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_more_memory_never_makes_it_worse(size: tuple[int, int, int]) -> None:
    images, features, classes = size
    plans = [plan_memory(images, features, limit, classes=classes) for limit in LIMITS]

    def directions(plan: MemoryPlan) -> float:
        return features if plan.subspace is None else plan.subspace

    assert all(directions(less) <= directions(more) for less, more in pairwise(plans))
    exact = [plan.subspace is None for plan in plans]
    assert exact == sorted(exact)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_memory_of_the_exact_solution_is_what_gives_it(size: tuple[int, int, int]) -> None:
    images, features, classes = size
    for limit in LIMITS:
        plan = plan_memory(images, features, limit, classes=classes)
        again = plan_memory(images, features, plan.exact_gib * (1 + 1e-9), classes=classes)
        assert (again.subspace is None) == plan.exact_in_reach
        assert plan.exact_in_reach == (images <= LARGEST_DUAL or features <= LARGEST_PRIMAL)
        if plan.subspace is not None:
            assert plan.exact_gib > limit or not plan.exact_in_reach


@pytest.mark.parametrize(
    ("images", "features", "side", "keep"),
    [
        (833, 32_896, "rows", True),
        (5994, 32_896, "rows", True),
        (8144, 32_896, "rows", True),
        (50_000, 1280, "features", True),
        (2_000_000, 1280, "features", False),
    ],
)
def test_data_sets_of_usual_sizes_are_solved_exactly_in_4_gib(
    images: int, features: int, side: str, keep: bool
) -> None:
    plan = plan_memory(images, features, 4.0, classes=200)
    assert (plan.subspace, plan.side, plan.keep) == (None, side, keep)


def test_many_features_of_fewer_images_than_that_may_be_solved_by_images() -> None:
    plan = plan_memory(20_000, 15_000, 64.0, classes=10)
    assert (plan.subspace, plan.side) == (None, "rows")
