"""Gradient centralization: the part of a weight's gradient that leaves the mean of each row."""

import torch
from torch import Tensor


def centralize_gradient(gradient: Tensor) -> Tensor:
    """Return the gradient minus its mean over all axes but the first (gradient centralization, GC).

    Every output channel of a convolution or linear layer keeps the sum of its weights; the result
    is the orthogonal projection onto that hyperplane, so doing it twice changes nothing.

    Args:
        gradient: Gradient of a weight, shape (O, I, kH, kW), (O, I) or any other with the output
            channels first. Not modified.

    Returns:
        Same shape, dtype and device; every row sums to zero. A tensor of fewer than two axes, or
        with one element per row (fan-in 1, where only zero would be left), comes back as it is.

    Source:
        Yong, Huang, Hua, Zhang. "Gradient Centralization: A New Optimization Technique for Deep
        Neural Networks", ECCV 2020, equation 1.

    Example:
        >>> import torch
        >>> rows = centralize_gradient(torch.rand(4, 3, 5, 5, dtype=torch.float64)).flatten(1)
        >>> bool(rows.sum(1).abs().max() < 1e-12)
        True
    """
    return gradient - row_mean(gradient) if has_rows(gradient) else gradient


def has_rows(tensor: Tensor) -> bool:
    """Return whether each output channel has several weights, so that a mean can be taken out."""
    # With one weight for each channel the mean is the gradient itself: it would never learn.
    return tensor.ndim > 1 and tensor.shape[1:].numel() > 1


def row_mean(tensor: Tensor, *, dtype: torch.dtype | None = None) -> Tensor:
    """Mean over all axes but the first, shape (O, 1, ...), in the tensor's dtype or another."""
    # All axes but the first, which are the output channels.
    return tensor.mean(dim=tuple(range(1, tensor.ndim)), keepdim=True, dtype=dtype)
