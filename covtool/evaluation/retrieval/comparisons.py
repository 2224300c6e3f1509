"""Comparison of images by their features.

Features are prepared block by block as they are needed: normalized, or moved to an origin among
them. Neither rounds what is exact in float32 (small integers, say).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import frexp, sqrt

import torch
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 4096
_GRID = 2**8  # per unit: an origin on it is exact, and so are its differences to small integers
_SMALLEST_EXPONENT = -120  # a scale beyond is not a float32


class Comparison(ABC):
    """Distances between rows of features, which may be of any magnitude."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        """A power of two, so that nothing is rounded, that brings the largest value near to 1."""

    @abstractmethod
    def prepare(self, features: Tensor) -> Tensor:
        """Return features as `compare` and `base` want them, shape (B, D), as a copy."""

    @abstractmethod
    def compare(self, x: Tensor, y: Tensor, out: Tensor) -> Tensor:
        """Write to `out` (A, B) what orders the rows of `y` (B, D) by distance from those of `x`.

        This is the distance but for a number for each row of `x`, `base`: without it, less is lost
        to rounding.
        """

    @abstractmethod
    def base(self, x: Tensor) -> Tensor:
        """Return what makes distances out of `compare`, shape (A, 1)."""

    @abstractmethod
    def of_pairs(self, x: Tensor, y: Tensor) -> Tensor:
        """Return distances between rows of `x` and the same rows of `y`, shape (B,), at least 0."""

    def distances(self, x: Tensor, y: Tensor, out: Tensor) -> Tensor:
        """Write distances to `out` (A, B), in a unit of the comparison's own, not negative."""
        # Rounding leaves tiny negative distances between equal images.
        return self.compare(x, y, out).add_(self.base(x)).clamp_min_(0)

    @abstractmethod
    def to_distance(self, own: float) -> float:
        """Return the metric's distance of one in the comparison's own unit."""


class Cosine(Comparison):
    """1 - cos; that of a feature vector of zeros and any other is 1."""

    def prepare(self, features: Tensor) -> Tensor:
        scaled = features * self.scale
        return F.normalize(scaled, dim=1, out=scaled)

    def compare(self, x: Tensor, y: Tensor, out: Tensor) -> Tensor:
        return torch.mm(-x, y.T, out=out)  # negated before: no second pass over the product

    def base(self, x: Tensor) -> Tensor:
        return x.new_ones(len(x), 1)

    def of_pairs(self, x: Tensor, y: Tensor) -> Tensor:
        return (1 - (x * y).sum(1)).clamp_min_(0)

    def to_distance(self, own: float) -> float:
        return own


class Euclidean(Comparison):
    """The squared Euclidean distance.

    Args:
        scale: See `Comparison`.
        origin: Origin of the vectors, shape (D,), scaled. Distances do not depend on it, but their
            rounding does: |x|² + |y|² - 2xy is a difference of large numbers where the features
            are far from it.
    """

    def __init__(self, scale: float, origin: Tensor) -> None:
        super().__init__(scale)
        self.origin = origin

    def prepare(self, features: Tensor) -> Tensor:
        return (features * self.scale).sub_(self.origin)

    def compare(self, x: Tensor, y: Tensor, out: Tensor) -> Tensor:
        # Without |x|², which is the same for a whole row and would cost digits.
        return torch.addmm(y.square().sum(1), x, y.T, alpha=-2, out=out)

    def base(self, x: Tensor) -> Tensor:
        return x.square().sum(1, keepdim=True)

    def of_pairs(self, x: Tensor, y: Tensor) -> Tensor:
        return (x - y).square_().sum(1)

    def to_distance(self, own: float) -> float:
        return sqrt(own) / self.scale


def cosine(parts: Sequence[Tensor]) -> Cosine:
    """Compare by angle, whatever the lengths."""
    return Cosine(_scale(parts))


def euclidean(parts: Sequence[Tensor]) -> Euclidean:
    """Compare by squared Euclidean distance, with the origin near the mean of the last part."""
    scale, last = _scale(parts), parts[-1]
    mean = sum((block * scale).sum(0) for block in last.split(_BLOCK)) / len(last)
    return Euclidean(scale, (mean * _GRID).round() / _GRID)


METRICS: dict[str, Callable[[Sequence[Tensor]], Comparison]] = {
    "cosine": cosine,
    "euclidean": euclidean,
}
"""Feature matrices that are to be compared with each other, to how."""


def _scale(parts: Sequence[Tensor]) -> float:
    largest = max(max(-float(part.min()), float(part.max())) for part in parts)
    return 2.0 ** -max(frexp(largest)[1], _SMALLEST_EXPONENT)
