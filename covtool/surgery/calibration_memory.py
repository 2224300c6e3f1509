"""How a calibration is solved within a bound on memory: by which system, of which features.

The counts are of bytes that are held at the same time; `benchmarks/ridge.py` measures them, and so
do the tests at small sizes. The network is not among them, and neither is the batch of features
that it gives.
"""

from bisect import bisect_right
from dataclasses import dataclass

from covtool.ops.cholesky import BLOCK
from covtool.ops.parts import NUMBERS_AT_ONCE
from covtool.ops.ridge import LARGEST_EIGEN, Side
from covtool.ops.temperature import MOST_LOGITS

LARGEST_DUAL = 24_576
"""Images up to which the dual is solved: half an hour on one core at 20,000."""

LARGEST_PRIMAL = 10_240
"""Features up to which the primal is solved: an eigendecomposition of minutes."""

LARGEST_SUBSPACE = 4096
"""Directions that features are projected to where no exact solution is in reach."""

_GIB = 2**30
_FLOAT32, _FLOAT64 = 4, 8
# Matrices of a system's size: itself, its eigenvectors, workspace of eigh, what is made of them.
_DUAL_EIGEN, _PRIMAL_EIGEN = 6, 4
# What becomes of a part, of rows or columns, in float64: itself, centered, projected, shrunk,
# and products of these.
_OF_A_PART = 5
# Bands of a factorization: the diagonal blocks, a column of blocks and its copy.
_BANDS = 3
# An eigendecomposition of 2,048 rows, which the search for the penalty starts from.
_START = _DUAL_EIGEN * _FLOAT64 * 2048**2
_BLOCK_BYTES = 2 * 2**27  # of features in float64, and of the same centered
_PREDICTIONS, _WEIGHTS = 4, 4  # left out, coefficients and what is made of them; of d x K numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """How the classifier is solved for within a bound on memory.

    Attributes:
        side: ``rows`` for the dual, ``features`` for the primal.
        subspace: Number of directions that features are projected to; None to use them as they
            are.
        keep: Whether all (projected) features fit; otherwise they are computed again each time.
        needed_gib: Memory that it takes, in GiB; above the bound only where no plan is below.
        exact_gib: Memory that the exact solution takes, in GiB: that of this plan if it is exact.
        exact_in_reach: Whether the exact solution would be taken with a higher bound; otherwise
            there are too many images and too many features for it.
    """

    side: Side
    subspace: int | None
    keep: bool
    needed_gib: float
    exact_gib: float
    exact_in_reach: bool


def plan_memory(images: int, features: int, limit_gib: float, *, classes: int) -> MemoryPlan:
    """Choose how to solve for a classifier.

    The exact solution, with all features in memory, by the smaller system (dual or primal) or the
    other; the primal over features that are computed again for each pass; and where none of these
    fits, the primal in a subspace of as many directions as fit.

    Args:
        images: Number of images, n.
        features: Length of a feature vector, d.
        limit_gib: Bound on the memory of features, system and predictions together, in GiB.
        classes: Number of classes, K.
    """
    limit = limit_gib * _GIB
    smaller: tuple[Side, Side] = ("features", "rows")
    if images <= features:
        smaller = ("rows", "features")
    exact: list[tuple[Side, bool]] = [(side, True) for side in smaller]
    exact.append(("features", False))
    costs = {
        (side, keep): _exact_bytes(images, features, classes, side=side, keep=keep)
        for side, keep in exact
        if (images <= LARGEST_DUAL if side == "rows" else features <= LARGEST_PRIMAL)
    }
    least = min(costs.values(), default=0) or min(
        _exact_bytes(images, features, classes, side=side, keep=keep) for side, keep in exact
    )
    for (side, keep), cost in costs.items():
        if cost <= limit:
            return MemoryPlan(
                side=side,
                subspace=None,
                keep=keep,
                needed_gib=cost / _GIB,
                exact_gib=cost / _GIB,
                exact_in_reach=True,
            )

    def streamed(size: int) -> float:
        return _subspace_bytes(images, features, classes, size)

    largest = max(min(features, LARGEST_SUBSPACE, images - 1), 1)
    size = max(bisect_right(range(1, largest + 1), limit, key=streamed), 1)
    kept = streamed(size) + _FLOAT32 * images * size + images * classes
    keep = kept <= limit
    return MemoryPlan(
        side="features",
        subspace=size,
        keep=keep,
        needed_gib=(kept if keep else streamed(size)) / _GIB,
        exact_gib=least / _GIB,
        exact_in_reach=bool(costs),
    )


def _exact_bytes(images: int, features: int, classes: int, *, side: Side, keep: bool) -> float:
    kept = (_FLOAT32 * features + classes) * images  # features, and targets of a byte each
    if side == "features":
        parts = _parts_bytes(images, max(features, classes))
        return keep * kept + _primal_bytes(images, features, classes) + parts
    # Left-out predictions of all images, and the weights that come of them.
    results = _FLOAT64 * classes * (_PREDICTIONS * images + 2 * features)
    if images <= LARGEST_EIGEN:
        system = _DUAL_EIGEN * _FLOAT64 * images**2
    else:
        system = _FLOAT64 * images * (images + _BANDS * BLOCK) + _START
    return kept + system + results + _blocks_bytes(images, features)


def _blocks_bytes(images: int, features: int) -> float:
    return min(2 * _FLOAT64 * images * features, _BLOCK_BYTES)


def _primal_bytes(images: int, features: int, classes: int) -> float:
    predictions = _PREDICTIONS * min(images * classes, MOST_LOGITS)
    weights = _WEIGHTS * features * classes
    return _FLOAT64 * (_PRIMAL_EIGEN * features**2 + predictions + weights)


def _parts_bytes(rows: int, columns: int) -> float:
    return _FLOAT64 * _OF_A_PART * min(rows * columns, NUMBERS_AT_ONCE)


def _subspace_bytes(images: int, features: int, classes: int, size: int) -> float:
    directions = _FLOAT32 * (size + 1) * features
    weights = 2 * _FLOAT64 * features * classes
    # Of landmarks, or of projections.
    parts = _parts_bytes(max(features, images), max(size, classes))
    return directions + weights + _primal_bytes(images, size, classes) + parts
