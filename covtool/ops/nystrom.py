"""Nyström's approximation of inner products: those within the span of some rows."""

from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.errors import ShapeError
from covtool.ops.parts import by_columns

_RANK = 1e-10  # of the largest eigenvalue: below, rows in float32 span rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Subspace:
    """An orthonormal basis of what differs between rows, the landmarks.

    A ridge regression on projections to it is the regression whose weights lie in it: with the
    landmarks drawn from the rows that are fitted, the directions of large variance are among them.

    Attributes:
        directions: Orthonormal rows, shape (m, d), in the landmarks' dtype.

    Source:
        Williams, Seeger. "Using the Nyström Method to Speed Up Kernel Machines", NIPS 2000;
        uniform landmarks: Rudi, Camoriano, Rosasco. "Less is More", NIPS 2015.

    Example:
        >>> import torch
        >>> subspace = Subspace.spanned_by_(torch.tensor([[1.0, 0, 5], [3, 0, 5], [7, 0, 5]]))
        >>> subspace.directions.abs()
        tensor([[1., 0., 0.]])
    """

    directions: Tensor

    @classmethod
    def spanned_by_(cls, landmarks: Tensor) -> "Subspace":
        """Return the subspace of rows (m + 1, d), less their mean; at most m directions.

        Args:
            landmarks: The rows; their memory is used up.

        Raises:
            ShapeError: The shape is not (m + 1, d).
        """
        if landmarks.ndim != 2:
            raise ShapeError.expected("landmarks", "(m + 1, d)", landmarks)
        gram = landmarks.new_zeros(len(landmarks), len(landmarks), dtype=torch.float64)
        for columns in by_columns(landmarks):
            block = columns.double()
            block -= block.mean(dim=0)
            columns.copy_(block)
            gram.addmm_(block, block.mT)
        eigenvalues, vectors = torch.linalg.eigh(gram)
        del gram  # a matrix of m x m numbers, and what follows makes no other
        # They ascend, the last is the largest; it is zero where all rows are equal.
        size = int((eigenvalues > _RANK * eigenvalues[-1:].clamp_min(0)).sum())
        first = len(landmarks) - size
        to_directions = vectors[:, first:].div_(eigenvalues[first:].sqrt()).mT
        for columns in by_columns(landmarks):
            columns[:size] = to_directions @ columns.double()
        return cls(directions=landmarks[:size])

    def apply(self, features: Tensor) -> Tensor:
        """(n, d) -> (n, m)."""
        return features @ self.directions.mT

    def transpose(self, weight: Tensor) -> Tensor:
        """Return a linear map of projections as one of the features: (K, m) -> (K, d)."""
        mapped = weight.new_empty(len(weight), self.directions.shape[1])
        start = 0
        for directions in by_columns(self.directions):
            stop = start + directions.shape[1]
            mapped[:, start:stop] = weight @ directions.to(weight.dtype)
            start = stop
        return mapped


def landmark_rows(rows: int, count: int) -> Tensor:
    """Return which of `rows` rows are landmarks: ascending, drawn at random, always the same."""
    generator = torch.Generator("cpu").manual_seed(0)  # as on every device
    return torch.randperm(rows, generator=generator)[:count].sort().values
