"""Cholesky factors of a large symmetric matrix plus multiples of the identity, within one matrix.

The upper triangle keeps the matrix while the lower one is factored and inverted in place, block by
block, so that factors for several shifts take the memory of one n x n matrix. All but a small part
of the work is in products of large blocks.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 512
"""Rows and columns at a time: large enough for products at full speed."""


@dataclass(frozen=True, slots=True)
class InverseFactor:
    """The inverse W of the Cholesky factor of a matrix A: ``W.mT @ W`` is the inverse of A.

    Attributes:
        matrix: Shape (n, n): W in the lower triangle; above its diagonal blocks is something else.
    """

    matrix: Tensor

    def times(self, right: Tensor) -> Tensor:
        """Return W @ right, (n, K)."""
        product = torch.empty_like(right)
        for rows in _blocks(len(right)):
            product[rows] = self.matrix[rows, : rows.stop] @ right[: rows.stop]
        return product

    def solve(self, right: Tensor) -> Tensor:
        """Return the solution x of A x = right, (n, K)."""
        product = self.times(right)
        solution = torch.zeros_like(right)
        for rows in _blocks(len(right)):
            solution[: rows.stop].addmm_(self.matrix[rows, : rows.stop].mT, product[rows])
        return solution

    def inverse_diagonal(self) -> Tensor:
        """Return the diagonal of the inverse of A, (n,)."""
        total = self.matrix.new_zeros(len(self.matrix))
        for rows in _blocks(len(total)):
            part = self.matrix[rows, : rows.stop]
            total[: rows.stop] += torch.linalg.vector_norm(part, dim=0).square()
        return total


class ShiftedCholesky:
    """Factors of A + shift I for one shift after another.

    Args:
        matrix: A, shape (n, n), symmetric and positive semi-definite; used up: it is the memory
            of all factors.
    """

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix
        self._diagonal = [matrix[block, block].clone() for block in _blocks(len(matrix))]
        self._is_whole = True

    def inverse_factor(self, shift: float) -> InverseFactor:
        """Return the inverse of the Cholesky factor of A + shift I.

        It is a view of the one matrix, and void with the next call.

        Raises:
            torch.linalg.LinAlgError: A + shift I is not positive definite, up to rounding.
        """
        self._restore(shift)
        _factor_(self._matrix)
        _invert_(self._matrix)
        return InverseFactor(self._matrix)

    def _restore(self, shift: float) -> None:
        for block, diagonal in zip(_blocks(len(self._matrix)), self._diagonal, strict=True):
            self._matrix[block, block] = diagonal
            self._matrix[block, block].diagonal().add_(shift)
            if not self._is_whole:
                self._matrix[block.stop :, block] = self._matrix[block, block.stop :].mT
        self._is_whole = False


def _factor_(matrix: Tensor) -> None:
    """Replace the lower triangle by the Cholesky factor's, left-looking."""
    for block in _blocks(len(matrix)):
        done, start = matrix[block.start :, : block.start], block.start
        column = matrix[start:, block]
        column.addmm_(done, matrix[block, :start].mT, alpha=-1)
        size = block.stop - start
        factor = torch.linalg.cholesky(column[:size])
        column[:size] = factor
        column[size:] = torch.linalg.solve_triangular(
            factor.mT, column[size:], upper=True, left=False
        )


def _invert_(matrix: Tensor) -> None:
    """Replace a lower triangle by its inverse: each block row is eliminated from those below."""
    for block in _blocks(len(matrix)):
        before, after = slice(0, block.start), slice(block.stop, None)
        identity = torch.eye(block.stop - block.start, dtype=matrix.dtype, device=matrix.device)
        inverse = torch.linalg.solve_triangular(matrix[block, block], identity, upper=False)
        matrix[block, before] = inverse @ matrix[block, before]
        matrix[block, block] = inverse
        below = matrix[after, block].clone()
        matrix[after, before].addmm_(below, matrix[block, before], alpha=-1)
        matrix[after, block] = below @ -inverse


def _blocks(size: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, size)) for start in range(0, size, BLOCK))
