"""Parts of large matrices, so that what is made of each in float64 is small beside the whole."""

from collections.abc import Iterator

from torch import Tensor

NUMBERS_AT_ONCE = 1 << 20
"""Numbers of a part: 8 MiB in float64."""


def by_columns(matrix: Tensor) -> Iterator[Tensor]:
    """Yield views of a matrix (n, d), of so many columns each that n times these is a part."""
    yield from matrix.split(_count(len(matrix)), dim=1)


def by_rows(features: Tensor, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield views of the same rows of (n, d) and (n, K); the wider one gives a part."""
    rows = _count(max(features.shape[1], targets.shape[1]))
    yield from zip(features.split(rows), targets.split(rows), strict=True)


def _count(other_size: int) -> int:
    return max(NUMBERS_AT_ONCE // max(other_size, 1), 1)
