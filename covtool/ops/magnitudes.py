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


@dataclass(frozen=True, slots=True, kw_only=True)
class MagnitudeRow:
    """A magnitude function and what it depends on.

    Attributes:
        name: Value of `--conv`.
        summary: One line, with a full stop.
        source: Publication that it comes from.
        function: h for a scale of 1.
        bounded: Whether it never exceeds 1.
        takes_radius: Whether it depends on ρ.
        beta: Default of β; None for functions without one.
    """

    name: str
    summary: str
    source: str = DECOUPLED
    function: Magnitude
    bounded: bool = False
    takes_radius: bool = True
    beta: float | None = None


MAGNITUDES = Registry(
    "magnitude",
    [
        MagnitudeRow(
            name="sphere",
            summary="α: the direction alone decides.",
            function=sphere,
            bounded=True,
            takes_radius=False,
        ),
        MagnitudeRow(
            name="ball",
            summary="α min(‖x‖, ρ)/ρ: linear, then bounded.",
            function=ball,
            bounded=True,
        ),
        MagnitudeRow(
            name="tanh",
            summary="α tanh(‖x‖/ρ): smoothly bounded.",
            function=tanh,
            bounded=True,
        ),
        MagnitudeRow(
            name="linear",
            summary="α‖x‖: with cosine and linear weighting, the convolution itself.",
            function=linear,
            takes_radius=False,
        ),
        MagnitudeRow(
            name="segmented",
            summary="α‖x‖ up to ρ, then with β times the slope.",
            function=segmented,
            beta=0.5,  # as in the authors' code
        ),
        MagnitudeRow(
            name="log",
            summary="α log(1 + ‖x‖/ρ): slower and slower, unbounded.",
            function=log,
        ),
        MagnitudeRow(
            name="mixed",
            summary="α(‖x‖ + β log(1 + ‖x‖/ρ)): linear and logarithm.",
            function=mixed,
            beta=1.0,
        ),
    ],
)
