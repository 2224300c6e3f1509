"""The dual by one eigendecomposition: every penalty is tried.

The centered Gram matrix has the constant vector in its kernel, and that direction is taken out
before the eigendecomposition: left in, its eigenvalue is zero only up to rounding, H_ii comes out
as 1 for a small penalty, and leave-one-out reports a perfect score.
"""

import torch
from torch import Tensor

from covtool.ops.ridge.choice import SMALLEST_LEFT, Loss, scaled_penalties
from covtool.ops.ridge.result import GramFit


def fit_by_eigen(gram: Tensor, targets: Tensor, loss: Loss) -> GramFit:
    """Fit by products of centered features, (n, n) in float64; targets (n, K) of any dtype.

    Takes the memory of six such matrices.
    """
    targets = targets.double()
    target_mean = targets.mean(dim=0)
    centered_targets = targets - target_mean
    eigenvalues, vectors = _eigen_without_constant(gram)
    projected = vectors.mT @ centered_targets
    penalties = scaled_penalties(eigenvalues.sum().item(), len(gram))

    def left_out(penalty: float) -> Tensor:
        kept = penalty / (eigenvalues + penalty)
        # 1 - H_ii, without a difference: the constant direction is not among the vectors.
        unexplained = (vectors.square() @ kept).clamp_min(SMALLEST_LEFT)
        return targets - (vectors @ (kept[:, None] * projected)) / unexplained[:, None]

    penalty = min(penalties, key=lambda p: loss(left_out(p), targets).item())
    return GramFit(
        coefficients=vectors @ (projected / (eigenvalues + penalty)[:, None]),
        bias=target_mean,
        target_mean=target_mean,
        penalty=penalty,
        left_out=left_out(penalty),
    )


def _eigen_without_constant(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenpairs of a centered Gram matrix in the n-1 directions that are not constant.

    A Householder reflection maps the constant vector to the first axis; what is left is the
    lower right block, whose eigenvectors the reflection takes back.
    """
    rows = len(gram)
    # The Householder reflection that takes the constant direction to the first axis, which is
    # then cut off: the eigenvalues of the rest have no rounding of a zero among them.
    normal = torch.full((rows,), rows**-0.5, dtype=gram.dtype, device=gram.device)
    normal[0] += 1
    normal = normal / normal.norm()

    def reflect(matrix: Tensor) -> Tensor:
        return matrix - 2 * torch.outer(normal, normal @ matrix)

    # Both sides, and symmetric again: `eigh` reads one triangle only.
    rotated = reflect(reflect(gram).mT)[1:, 1:]
    eigenvalues, inner = torch.linalg.eigh((rotated + rotated.mT) / 2)
    padded = torch.cat([torch.zeros_like(inner[:1]), inner])
    return eigenvalues.clamp_min(0), reflect(padded)
