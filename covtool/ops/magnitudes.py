"""Magnitude functions h of decoupled operators: how strongly a patch answers, by its norm.

Each is written for a scale of 1: the operator multiplies by α, so that β is a slope in units of α.
`radius` (ρ) is the length that norms are measured by; 1 gives the paper's logarithms.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.registry import Registry

DECOUPLED = "Liu et al., CVPR 2018"
NEGLIGIBLE = 1e-12
"""A patch of a smaller norm is a zero patch: it has no direction."""

Magnitude = Callable[[Tensor, Tensor, float], Tensor]
"""``h(norm, radius, beta)``: norms are not negative, radii are positive and broadcast."""
MagnitudeSlope = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""``slope(norm, h, radius, beta)``: the derivative of h by the norm; h is its value there."""
RadiusSlope = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""``slope(norm, h, slope, radius)``: the derivative of h by the radius, from that by the norm."""


def negligible(dtype: torch.dtype) -> float:
    """Return the least norm that differs from zero: `NEGLIGIBLE`, or what a float16 still holds."""
    # Float16 has no 1e-12: its smallest normal number is 6e-5.
    return max(NEGLIGIBLE, torch.finfo(dtype).tiny)


def sphere(norm: Tensor, radius: Tensor, beta: float) -> Tensor:
    """1 for every patch but a zero patch, which has no direction and gives 0."""
    # A zero patch, whose norm was raised to `NEGLIGIBLE`, has no direction to give.
    return (norm > 2 * NEGLIGIBLE).to(norm.dtype)


def ball(norm: Tensor, radius: Tensor, beta: float) -> Tensor:
    """``norm / radius`` up to the radius, then 1."""
    return (norm / radius).clamp_max(1)


def tanh(norm: Tensor, radius: Tensor, beta: float) -> Tensor:
    """``tanh(norm / radius)``: a smooth ball."""
    return torch.tanh(norm / radius)


def linear(norm: Tensor, radius: Tensor, beta: float) -> Tensor:
    """Return the norm itself, as in a convolution."""
    return norm


def segmented(norm: Tensor, radius: Tensor, beta: float) -> Tensor:
    """Return the norm up to the radius, then on with slope `beta`."""
    within = torch.minimum(norm, radius)
    # One expression for both parts: the slope changes at ρ, the value does not jump.
    return within + beta * (norm - within)


def log(norm: Tensor, radius: Tensor, beta: float) -> Tensor:
    """``log(1 + norm / radius)``."""
    return torch.log1p(norm / radius)


def mixed(norm: Tensor, radius: Tensor, beta: float) -> Tensor:
    """``norm + beta log(1 + norm / radius)``."""
    return norm + beta * torch.log1p(norm / radius)


def sphere_slope(norm: Tensor, value: Tensor, radius: Tensor, beta: float) -> Tensor:
    """Return 0 everywhere: the step at 0 counts as flat."""
    return torch.zeros_like(norm)


def ball_slope(norm: Tensor, value: Tensor, radius: Tensor, beta: float) -> Tensor:
    """``1 / radius`` up to the radius, then 0."""
    # 1 below the radius, 0 at it and beyond, as autograd has it; Booleans take many times as long.
    return torch.sign(radius - norm).clamp_min_(0) / radius


def tanh_slope(norm: Tensor, value: Tensor, radius: Tensor, beta: float) -> Tensor:
    """``(1 - tanh(norm / radius)**2) / radius``."""
    return (1 - value * value) / radius


def linear_slope(norm: Tensor, value: Tensor, radius: Tensor, beta: float) -> Tensor:
    """Return 1 everywhere."""
    return torch.ones_like(norm)


def segmented_slope(norm: Tensor, value: Tensor, radius: Tensor, beta: float) -> Tensor:
    """1 up to the radius, then `beta`; their mean where both meet, as autograd has it."""
    return torch.sign(radius - norm).mul_((1 - beta) / 2).add_((1 + beta) / 2)


def log_slope(norm: Tensor, value: Tensor, radius: Tensor, beta: float) -> Tensor:
    """``1 / (radius + norm)``."""
    return 1 / (radius + norm)


def mixed_slope(norm: Tensor, value: Tensor, radius: Tensor, beta: float) -> Tensor:
    """``1 + beta / (radius + norm)``."""
    return 1 + beta / (radius + norm)


def by_ratio(norm: Tensor, value: Tensor, slope: Tensor, radius: Tensor) -> Tensor:
    """Return the derivative by the radius where h is a function of ``norm / radius``."""
    return -slope * norm / radius


def in_proportion(norm: Tensor, value: Tensor, slope: Tensor, radius: Tensor) -> Tensor:
    """Return the derivative by the radius where h grows with norm and radius as both do."""
    # Euler's theorem for a homogeneous function of degree 1.
    return (value - slope * norm) / radius


def norm_and_ratio(norm: Tensor, value: Tensor, slope: Tensor, radius: Tensor) -> Tensor:
    """Return the derivative by the radius of a norm plus a function of ``norm / radius``."""
    return (1 - slope) * norm / radius


@dataclass(frozen=True, slots=True, kw_only=True)
class MagnitudeRow:
    """A magnitude function and what it depends on.

    Attributes:
        name: Value of `--conv`.
        summary: One line, with a full stop.
        source: Publication that it comes from.
        function: h for a scale of 1.
        slope: Derivative of h by the norm.
        radius_slope: Derivative of h by ρ; None for functions without one.
        bounded: Whether it never exceeds 1.
        beta: Default of β; None for functions without one.
    """

    name: str
    summary: str
    source: str = DECOUPLED
    function: Magnitude
    slope: MagnitudeSlope
    radius_slope: RadiusSlope | None = None
    bounded: bool = False
    beta: float | None = None

    @property
    def takes_radius(self) -> bool:
        """Whether it depends on ρ."""
        return self.radius_slope is not None


MAGNITUDES = Registry(
    "magnitude",
    [
        MagnitudeRow(
            name="sphere",
            summary="α: the direction alone decides.",
            function=sphere,
            slope=sphere_slope,
            bounded=True,
        ),
        MagnitudeRow(
            name="ball",
            summary="α min(‖x‖, ρ)/ρ: linear, then bounded.",
            function=ball,
            slope=ball_slope,
            radius_slope=by_ratio,
            bounded=True,
        ),
        MagnitudeRow(
            name="tanh",
            summary="α tanh(‖x‖/ρ): smoothly bounded.",
            function=tanh,
            slope=tanh_slope,
            radius_slope=by_ratio,
            bounded=True,
        ),
        MagnitudeRow(
            name="linear",
            summary="α‖x‖: with cosine and linear weighting, the convolution itself.",
            function=linear,
            slope=linear_slope,
        ),
        MagnitudeRow(
            name="segmented",
            summary="α‖x‖ up to ρ, then with β times the slope.",
            function=segmented,
            slope=segmented_slope,
            radius_slope=in_proportion,
            beta=0.5,  # as in the authors' code
        ),
        MagnitudeRow(
            name="log",
            summary="α log(1 + ‖x‖/ρ): slower and slower, unbounded.",
            function=log,
            slope=log_slope,
            radius_slope=by_ratio,
        ),
        MagnitudeRow(
            name="mixed",
            summary="α(‖x‖ + β log(1 + ‖x‖/ρ)): linear and logarithm.",
            function=mixed,
            slope=mixed_slope,
            radius_slope=norm_and_ratio,
            beta=1.0,
        ),
    ],
)
