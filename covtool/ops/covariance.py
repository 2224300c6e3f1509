"""Second-order statistics of feature maps."""

import torch
from torch import Tensor

from covtool.errors import ShapeError


def centered_positions(features: Tensor) -> Tensor:
    """Return feature maps as matrices, rows (channels) centered: (B, C, H, W) -> (B, C, N).

    Raises:
        ShapeError: `features` does not have four dimensions.
    """
    if features.ndim != 4:
        raise ShapeError.expected("features", "(B, C, H, W)", features)
    flat = features.flatten(2)
    return flat - flat.mean(dim=-1, keepdim=True)


def covariance_pool(features: Tensor) -> Tensor:
    """Return the covariance of the channels over all positions (global covariance pooling).

    The biased estimate is used: the sum is divided by H*W, not by H*W - 1.

    Args:
        features: Feature maps, shape (B, C, H, W). Not modified.

    Returns:
        Symmetric positive semi-definite matrices, shape (B, C, C), in the dtype and on
        the device of `features`. The rank is at most H*W - 1.

    Raises:
        ShapeError: `features` does not have four dimensions.

    Source:
        Li, Xie, Wang, Zuo. "Is Second-order Information Helpful for Large-scale Visual
        Recognition?", ICCV 2017.

    Example:
        >>> covariance_pool(torch.rand(2, 8, 7, 7)).shape
        torch.Size([2, 8, 8])
    """
    centered = centered_positions(features)
    return centered @ centered.mT / centered.shape[-1]


def triu_vec(matrices: Tensor) -> Tensor:
    """Return upper triangles, diagonal included, row by row: (B, C, C) -> (B, C*(C+1)/2).

    Raises:
        ShapeError: `matrices` is not a batch of square matrices.

    Example:
        >>> triu_vec(torch.arange(4.0).reshape(1, 2, 2))
        tensor([[0., 1., 3.]])
    """
    if matrices.ndim != 3 or matrices.shape[-2] != matrices.shape[-1]:
        raise ShapeError.expected("matrices", "(B, C, C)", matrices)
    size = matrices.shape[-1]
    rows, columns = torch.triu_indices(size, size, device=matrices.device)
    # One index into flat rows: `index_select` exports to ONNX, and so does a dynamic batch.
    return matrices.flatten(1).index_select(1, rows * size + columns)
