"""Decoupled convolutions: h(‖x‖) g(θ) for each patch x and filter w, in place of w · x.

With g = cosine the operator is a convolution times h(‖x‖)/‖x‖, one number for each patch; with
another g the cosines themselves are needed. Norms of patches are roots of a box filter over the
channel-sum of squares.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from covtool.ops.filters import filter_norm, weighted_by_nothing
from covtool.ops.magnitudes import NEGLIGIBLE
from covtool.ops.precision import full_precision

TensorFunction = Callable[[Tensor], Tensor]


class Geometry(NamedTuple):
    """Placement of a convolution's kernel, in torch's terms."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] | str = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


class Decoupling(NamedTuple):
    """The two functions of a decoupled operator.

    Attributes:
        magnitude: h, of norms, (B, 1, H', W') or (B, O, H', W'); None for the norm itself.
        angular: g, of cosines, (B, O, H', W'); None for the cosine itself.
    """

    magnitude: TensorFunction | None = None
    angular: TensorFunction | None = None


def patch_norm(features: Tensor, kernel_size: tuple[int, int], geometry: Geometry) -> Tensor:
    """Return the Euclidean norm of each patch of a convolution.

    Args:
        features: Shape (B, C, H, W). Not modified.
        kernel_size: Height and width.
        geometry: Placement of the kernel; each group of channels has norms of its own.

    Returns:
        Shape (B, groups, H', W'), in float32 or better. A zero patch has a negligible norm, 1e-12,
        and a gradient of zero.

    Example:
        >>> patch_norm(torch.ones(1, 4, 5, 5), (3, 3), Geometry()).shape
        torch.Size([1, 1, 3, 3])
    """
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    with full_precision(features):
        groups = geometry.groups
        # Depthwise: each channel is a group, and there is nothing to add up.
        if groups == features.shape[1]:
            energy = features.to(dtype).square()
        else:
            # The norm's own dtype: half precision would overflow in the sum of squares.
            grouped = features.unflatten(1, (groups, -1))
            energy = torch.linalg.vector_norm(grouped, dim=2, dtype=dtype).square()
        if kernel_size != (1, 1) or geometry != Geometry(groups=groups):
            # A box filter adds up the squares of a patch; 1 x 1 patches without strides need none.
            box = torch.ones(groups, 1, *kernel_size, dtype=dtype, device=features.device)
            energy = _convolve(energy, box, geometry)
        # Clamped before the root, whose slope at 0 is infinite: the gradient there is 0.
        return energy.clamp_min(NEGLIGIBLE**2).sqrt()


def decoupled_conv2d(
    features: Tensor, filters: Tensor, functions: Decoupling, geometry: Geometry
) -> Tensor:
    """Convolve with a decoupled operator, without a bias.

    Args:
        features: Shape (B, C, H, W). Not modified.
        filters: Shape (O, C / groups, kH, kW). Their norms multiply the result: norm 1 for an
            operator without weighting.
        functions: h and g.
        geometry: Stride, padding, dilation, groups.

    Returns:
        Shape (B, O, H', W'), in the dtype that the convolution would have. Zero for a zero patch.

    Source:
        Liu, Liu, Yu, Dai, Lin, Liu, Rehg, Song. "Decoupled Networks", CVPR 2018, equation 3.
    """
    magnitude, angular = functions
    if angular is not None:
        return _by_cosines(features, filters, magnitude, angular, geometry)
    response = _convolve(features, filters, geometry)
    if magnitude is None:
        return response
    norm = _for_each_filter(patch_norm(features, _kernel_size(filters), geometry), len(filters))
    with full_precision(features):
        return (response * (magnitude(norm) / norm)).to(response.dtype)


def _by_cosines(
    features: Tensor,
    filters: Tensor,
    magnitude: TensorFunction | None,
    angular: TensorFunction,
    geometry: Geometry,
) -> Tensor:
    size = filter_norm(filters)
    response = _convolve(features, weighted_by_nothing(filters), geometry)
    norm = _for_each_filter(patch_norm(features, _kernel_size(filters), geometry), len(filters))
    with full_precision(features):
        # Rounding may put a cosine beyond 1, where the arc cosine is NaN.
        cosine = (response.to(norm.dtype) / norm).clamp(-1, 1)
        strength = norm if magnitude is None else magnitude(norm)
        return (angular(cosine) * strength * size[:, 0]).to(response.dtype)


def _convolve(features: Tensor, filters: Tensor, geometry: Geometry) -> Tensor:
    stride, padding, dilation, groups = geometry
    return F.conv2d(features, filters, None, stride, padding, dilation, groups)


def _kernel_size(filters: Tensor) -> tuple[int, int]:
    height, width = filters.shape[2:]
    return height, width


def _for_each_filter(norm: Tensor, filters: int) -> Tensor:
    """Return norms (B, G, H, W) that broadcast against (B, O, H, W)."""
    groups = norm.shape[1]
    return norm if groups in (1, filters) else norm.repeat_interleave(filters // groups, dim=1)
