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

    Converges in a few steps for eigenvalues of `root` near its norm and slowly for small ones: with
    8 steps a direction needs about a tenth of the norm. Small eigenvalues come out as if they were
    larger, which bounds the result. The authors' code divides by the root of |A|, A = root²,
    which is never more than |root|, by which this divides: theirs needs fewer steps.

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
    scale = one_where_zero(norm)
    sign, solution = root / scale, right / scale
    three = 3 * torch.eye(root.shape[-1], dtype=root.dtype, device=root.device)
    with full_precision(root):  # a backward pass may be called where autocast is on
        for _ in range(num_iterations):
            square = sign @ sign
            step = three - square
            crossed = sign @ solution @ sign - square @ solution
            solution = (crossed + solution @ step) / 2
            sign = sign @ step / 2
    solution = (solution + solution.mT) / 4
    return torch.where(norm > 0, solution, torch.zeros_like(solution))
