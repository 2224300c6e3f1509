"""Decoupled convolutions: h(‖x‖) g(θ) for each patch x and filter w, in place of w · x.

With g = cosine the operator is a convolution times h(‖x‖)/‖x‖, one number for each patch; with
another g the cosines themselves are needed. Norms of patches are roots of a box filter over the
channel-sum of squares.

Here the operator is written as its formula, which autograd differentiates and `torch.compile`
fuses. On a CPU, where each operation of the formula would go through the memory once more,
`covtool.ops.decoupled_blocks` computes the same a block of images at a time.
"""

import torch
from torch import Tensor

from covtool.ops import decoupled_blocks
from covtool.ops.decoupling import Decoupling
from covtool.ops.filters import filter_norm, weighted_by_nothing
from covtool.ops.magnitudes import NEGLIGIBLE
from covtool.ops.patches import Geometry, convolve, kernel_size, with_amounts
from covtool.ops.precision import full_precision


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
            energy = _energy(features.unflatten(1, (groups, -1)), dtype)
        if kernel_size != (1, 1) or geometry != Geometry(groups=groups):
            # A box filter adds up the squares of a patch; 1 x 1 patches without strides need none.
            box = torch.ones(groups, 1, *kernel_size, dtype=dtype, device=features.device)
            energy = convolve(energy, box, geometry)
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
    if functions.magnitude is None and functions.angular is None:
        return convolve(features, filters, geometry)
    size = None
    if functions.angular is not None:
        size, filters = filter_norm(filters)[:, 0], weighted_by_nothing(filters)
    if functions.factor is None and decoupled_blocks.applicable(features, filters):
        features, geometry = with_amounts(features, kernel_size(filters), geometry)
        tensors = (features, filters, functions.current_radius(features))
        differentiable = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
        step = decoupled_blocks.Step(functions, geometry, by_formula, differentiable)
        return decoupled_blocks.apply(step, features, filters, size)
    return by_formula(functions, geometry, features, filters, size)


def by_formula(
    functions: Decoupling,
    geometry: Geometry,
    features: Tensor,
    filters: Tensor,
    size: Tensor | None,
) -> Tensor:
    """Return the operator's response, an operation at a time.

    Args:
        functions: h and g.
        geometry: Stride, padding, dilation, groups.
        features: Shape (B, C, H, W). Not modified.
        filters: Shape (O, C / groups, kH, kW); of norm 1 where g is not the cosine.
        size: Norms of the filters before that, (O, 1, 1); None where g is the cosine.
    """
    response = convolve(features, filters, geometry)
    norm = _for_each_filter(patch_norm(features, kernel_size(filters), geometry), len(filters))
    with full_precision(features):
        if functions.follow is not None:
            functions.follow(norm)
        strength = functions.strength(norm, functions.current_radius(norm))
        if size is None:
            return (response * (strength / norm)).to(response.dtype)
        # Rounding may put a cosine beyond 1, where the arc sine is NaN.
        cosine = (response.to(norm.dtype) / norm).clamp(-1, 1)
        return (functions.activation(cosine) * strength * size).to(response.dtype)


def _energy(grouped: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the sum of squares over the channels of each group."""
    # The norm's own dtype: half precision would overflow in the sum of squares.
    if torch.compiler.is_compiling():
        return grouped.to(dtype).square().sum(2)  # one loop once it is fused, and no root
    norm: Tensor = torch.linalg.vector_norm(grouped, dim=2, dtype=dtype)
    return norm.square()


def _for_each_filter(norm: Tensor, filters: int) -> Tensor:
    """Return norms (B, G, H, W) that broadcast against (B, O, H, W)."""
    groups = norm.shape[1]
    return norm if groups in (1, filters) else norm.repeat_interleave(filters // groups, dim=1)
