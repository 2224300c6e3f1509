"""The Lyapunov equation that the differential of a matrix square root satisfies."""

import torch
from torch import Tensor

from covtool.ops.matrix_sqrt import one_where_zero
from covtool.ops.precision import full_precision

LYAPUNOV_ITERATIONS = 8


def solve_lyapunov(
    root: Tensor, right: Tensor, *, num_iterations: int = LYAPUNOV_ITERATIONS
) -> Tensor:
    """X of ``root X + X root = right``, by the coupled iteration for the matrix sign.

    Both sides are divided by the root of |root²| first, which is never below the largest eigenvalue
    and, unlike |root| itself, near it where many are of one size. Eigenvalues much smaller than it
    come out as if they were larger, which bounds the result. With 8 steps at the roots of
    covariances of 8 to 256 channels at 49 or 196 positions, the result is at most 1e-6 from the
    exact solution for `matrix_sqrt_taylor` and 0.5 % for `matrix_sqrt_pade`, relative to its norm;
    divided by |root| it would be up to 12 and 30 %.

    Args:
        root: Symmetric positive semi-definite, shape (B, C, C). Not modified.
        right: Symmetric, shape (B, C, C). Not modified.
        num_iterations: Steps of the iteration.

    Returns:
        Shape (B, C, C); 0 where `root` is 0.

    Source:
        Song, Sebe, Wang. "Fast Differentiable Matrix Square Root", ICLR 2022, equations 14 and 15.
    """
    norm = torch.linalg.matrix_norm(root, keepdim=True)
    three = 3 * torch.eye(root.shape[-1], dtype=root.dtype, device=root.device)
    with full_precision(root):  # a backward pass may be called where autocast is on
        unit = root / one_where_zero(norm)  # squares of small entries would leave float32's range
        square = unit @ unit
        # The iteration converges for norms below the root of 3, and the faster the nearer to 1:
        # the Frobenius norm alone is too large for many eigenvalues.
        spectral = torch.linalg.matrix_norm(square, keepdim=True).sqrt()
        sign = unit / one_where_zero(spectral)
        solution = right / one_where_zero(norm) / one_where_zero(spectral)
        for _ in range(num_iterations):
            square = sign @ sign
            step = three - square
            # The sign of [[Y, G], [0, -Y]], block by block; its corner becomes twice the solution.
            crossed = sign @ solution @ sign - square @ solution
            solution = (crossed + solution @ step) / 2
            sign = sign @ step / 2
    # Half of the corner, and the mean with its transpose against rounding.
    solution = (solution + solution.mT) / 4
    return torch.where(norm > 0, solution, torch.zeros_like(solution))
