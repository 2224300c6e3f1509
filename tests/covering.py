"""Cases of several axes that say as much as their product, in far fewer: every pair of values.

Most faults need one value or two that meet; a product of four axes tests each pair dozens of times.
"""

from collections.abc import Callable, Sequence
from itertools import combinations, product
from typing import Any

import pytest

Case = tuple[Any, ...]


def pairs(
    *, ids: Callable[[Any], str] = str, unless: Callable[..., bool] | None = None, **axes: Sequence
) -> pytest.MarkDecorator:
    """Parametrize by every pair of values of two axes at least once; always the same cases.

    Args:
        ids: Name of a value.
        unless: Whether a case, by name of its axes, makes no sense.
        **axes: Values by name of the argument; the longest axes first give the fewest cases.
    """
    names = list(axes)
    every = [
        case
        for case in product(*(range(len(axes[name])) for name in names))
        if unless is None or not unless(**_values(axes, case))
    ]
    cases = [_values(axes, case) for case in _covering(every)]
    named = ["-".join(ids(value) for value in case.values()) for case in cases]
    return pytest.mark.parametrize(names, [tuple(c.values()) for c in cases], ids=named)


def _values(axes: dict[str, Sequence], case: Case) -> dict[str, Any]:
    return {name: axes[name][position] for name, position in zip(axes, case, strict=True)}


def _covering(every: list[Case]) -> list[Case]:
    """Choose the case with the most pairs that are new, until there are none."""
    pairs_of = {case: _pairs(case) for case in every}
    left = set().union(*pairs_of.values())
    chosen = []
    while left:
        best = max(every, key=lambda case: len(pairs_of[case] & left))
        chosen.append(best)
        left -= pairs_of[best]
    return sorted(chosen)


def _pairs(case: Case) -> set[tuple]:
    return set(combinations(enumerate(case), 2))
