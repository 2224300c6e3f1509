"""Principal directions of feature channels."""

import torch
from torch import Tensor

from covtool.errors import ArgumentError, ShapeError


def principal_directions(cov: Tensor, dim: int) -> Tensor:
    """Return the eigenvectors of a covariance with the largest eigenvalues, as rows.

    Args:
        cov: Symmetric positive semi-definite, shape (C, C).
        dim: Number of directions, at most C.

    Returns:
        Orthonormal rows, shape (dim, C), largest eigenvalue first. The sign is fixed: the entry
        of largest magnitude is positive.

    Raises:
        ShapeError: `cov` is not square.
        ArgumentError: `dim` is larger than C.

    Example:
        >>> principal_directions(torch.diag(torch.tensor([1.0, 3.0, 2.0])), 2)
        tensor([[0., 1., 0.],
                [0., 0., 1.]])
    """
    if cov.ndim != 2 or cov.shape[0] != cov.shape[1]:
        raise ShapeError.expected("cov", "(C, C)", cov)
    if dim > len(cov):
        raise ArgumentError(
            f"There are no {dim} principal directions of {len(cov)} channels.",
            hint=f"Choose --dim {len(cov)} or less, or --reduction none.",
        )
    # `eigh` has the eigenvalues ascending, and the vectors in columns.
    directions: Tensor = torch.linalg.eigh(cov).eigenvectors.mT.flip(0)[:dim]
    largest = directions.abs().argmax(dim=1, keepdim=True)
    # Signs are arbitrary and differ between machines: the largest entry is made positive.
    return directions * directions.gather(1, largest).sign()
