"""Weighting, projection and orthogonality of the filters of a convolution, (O, I, kH, kW)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.ops.magnitudes import DECOUPLED, negligible
from covtool.ops.precision import at_least_float32, full_precision
from covtool.registry import Registry


def filter_norm(weight: Tensor) -> Tensor:
    """Return the Euclidean norm of each filter, (O, 1, 1, 1); negligible for a zero filter."""
    norm: Tensor = weight.flatten(1).norm(dim=1).clamp_min(negligible(weight.dtype))
    return norm[:, None, None, None]


def weighted_by_nothing(weight: Tensor) -> Tensor:
    """Return filters of norm 1: the direction alone. A zero filter has none, and no gradient."""
    norm = filter_norm(weight)
    # A zero filter has no direction: it stays zero, without a gradient that explodes.
    return weight * torch.where(norm > negligible(weight.dtype), norm.reciprocal(), 0)


def weighted_linearly(weight: Tensor) -> Tensor:
    """Return the filters as they are: direction times norm."""
    return weight


def weighted_by_tanh(weight: Tensor) -> Tensor:
    """Return the directions times the hyperbolic tangent of the norm."""
    norm = filter_norm(weight)
    return weight * (torch.tanh(norm) / norm)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightingRow:
    """A weighting of filters by their norm.

    Attributes:
        name: Value of `--weighting`.
        summary: One line, with a full stop.
        source: Publication that it comes from.
        function: Function from filters to their directions times a function of their norms.
    """

    name: str
    summary: str
    source: str = DECOUPLED
    function: Callable[[Tensor], Tensor]


WEIGHTINGS = Registry(
    "weighting",
    [
        WeightingRow(
            name="none", summary="Not at all: filters of norm 1.", function=weighted_by_nothing
        ),
        WeightingRow(
            name="linear", summary="‖w‖, as in a convolution.", function=weighted_linearly
        ),
        WeightingRow(name="tanh", summary="tanh ‖w‖.", function=weighted_by_tanh),
    ],
)


def gradient_times_norm(weight: Tensor) -> Tensor:
    """Return the filters themselves, with a gradient that is multiplied by their norm.

    The gradient of a function of the direction falls with the norm; this takes that out.

    Source:
        Liu et al., CVPR 2018, weighted gradients.
    """
    fixed = weight.detach()
    return fixed + (weight - fixed) * filter_norm(fixed)  # the difference is exactly zero


def standardize_filters(weight: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Return each filter with mean 0 and variance 1 (weight standardization).

    Args:
        weight: Shape (O, I, kH, kW). Not modified.
        eps: Constant that is added to the variance.

    Source:
        Qiao, Wang, Liu, Shen, Yuille. "Micro-Batch Training with Batch-Channel Normalization and
        Weight Standardization", 2019, equation 6.
    """
    # Variances of small filters leave float16's range.
    rows = at_least_float32(weight).flatten(1)
    variance, mean = torch.var_mean(rows, dim=1, correction=0, keepdim=True)
    return ((rows - mean) * torch.rsqrt(variance + eps)).view_as(weight).to(weight.dtype)


def project_filters(weight: Tensor, norm: float) -> Tensor:
    """Return each filter brought to a norm, its direction kept; zero filters stay zero."""
    return weighted_by_nothing(weight) * norm


def orthogonality_penalty(weight: Tensor, *, groups: int = 1) -> Tensor:
    """Return half the squared distance of the filters' cosines from the identity, a scalar.

    Zero where all filters are orthogonal to each other. The smaller of the two Gram matrices is
    formed: their traces of squares are the same.

    Args:
        weight: Shape (O, I, kH, kW). Not modified.
        groups: Groups of the convolution; filters of different groups see different channels,
            and are not compared.

    Source:
        Liu et al., CVPR 2018; as in the authors' code, there times 1e-5.

    Example:
        >>> orthogonality_penalty(torch.eye(3)[:, :, None, None])
        tensor(0.)
    """
    directions = weighted_by_nothing(at_least_float32(weight))
    # One row a filter, groups apart: only filters of one group are compared.
    rows: Tensor = directions.unflatten(0, (groups, -1)).flatten(2)
    filters, fan_in = rows.shape[1:]
    with full_precision(weight):
        if filters <= fan_in:
            gram = rows @ rows.mT
            identity = torch.eye(filters, dtype=gram.dtype, device=gram.device)
            return (gram - identity).square().sum() / 2
        # ‖WW' − I‖² = ‖W'W‖² − 2 tr W'W + O
        gram = rows.mT @ rows
        return (gram.square().sum() - 2 * rows.square().sum() + len(weight)) / 2
