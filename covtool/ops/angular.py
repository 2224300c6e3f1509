"""Angular activations g of decoupled operators: how the angle θ between patch and kernel counts.

They take cos θ, which is what a convolution of directions gives, and do not increase with θ.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from covtool.ops.magnitudes import DECOUPLED
from covtool.registry import Registry

AngularActivation = Callable[[Tensor, float], Tensor]
"""``g(cos θ, k)``; k is used by the sigmoid alone."""
AngularSlope = Callable[[Tensor, Tensor, float], Tensor]
"""``slope(cos θ, g, k)``: the derivative of g by cos θ, from −1 to 1; g is its value there."""

# Powers of two: both ends of a ramp are numbers of the dtype, so that its height is what it says.
_RAMP = {torch.float32: 2.0**-20, torch.float64: 2.0**-40}
"""Width of the ramps in place of the arc sine's ends, where its slope is infinite."""


def arc_sine(cosine: Tensor) -> Tensor:
    """Return arcsin(cos θ) = π/2 − θ in radians, from −π/2 to π/2, with finite slope everywhere.

    Within 2⁻²⁰ of cos θ = ±1 (2⁻⁴⁰ in float64) it is the chord of the arc sine: exact at both ends
    and beyond, off by less than 4e-4 (4e-7) between.
    """
    end, slope = _end_and_slope(cosine.dtype)
    inside = cosine.clamp(-end, end)
    # Clamped before the arc sine, not after: its infinite slope at 1 times a zero of the clamp
    # would be NaN in the gradient.
    # Not `cosine - inside`: the slope of the ramp would come and go in the gradient, and take
    # the arc sine's last digits with it.
    return torch.asin(inside) + F.softshrink(cosine.clamp(-1, 1), end) * slope


def arc_sine_slope(cosine: Tensor) -> Tensor:
    """Return the derivative of `arc_sine`, for cosines from −1 to 1."""
    end, slope = _end_and_slope(cosine.dtype)
    # sin² θ, and on the ramps the number whose inverse root is their slope.
    return F.threshold(1 - cosine * cosine, 1 - end * end, slope**-2).rsqrt()


def _end_and_slope(dtype: torch.dtype) -> tuple[float, float]:
    """Return the cosine at which the ramp begins, and the slope of the ramp."""
    width = _RAMP[dtype]
    return 1 - width, math.acos(1 - width) / width


def cosine(cosine: Tensor, k: float) -> Tensor:
    """Return cos θ itself, as in a convolution."""
    return cosine


def linear(cosine: Tensor, k: float) -> Tensor:
    """1 − 2θ/π."""
    return arc_sine(cosine) * (2 / math.pi)


def square_cosine(cosine: Tensor, k: float) -> Tensor:
    """sign(cos θ) cos² θ."""
    return cosine * cosine.abs()


def sigmoid(cosine: Tensor, k: float) -> Tensor:
    """Return a sigmoid in θ from 1 to −1, steeper at π/2 the smaller k is.

    The paper's quotient of exponentials is a hyperbolic tangent, which cannot overflow.
    """
    # The published fraction of exponentials, rewritten: it does not overflow for a small k.
    return torch.tanh(arc_sine(cosine) / (2 * k)) / math.tanh(math.pi / (4 * k))


def cosine_slope(cosine: Tensor, value: Tensor, k: float) -> Tensor:
    """Return 1 everywhere."""
    return torch.ones_like(cosine)


def linear_slope(cosine: Tensor, value: Tensor, k: float) -> Tensor:
    """Return (2/π) / sin θ, but on the ramps of the arc sine."""
    return arc_sine_slope(cosine) * (2 / math.pi)


def square_cosine_slope(cosine: Tensor, value: Tensor, k: float) -> Tensor:
    """2 |cos θ|."""
    return 2 * cosine.abs()


def sigmoid_slope(cosine: Tensor, value: Tensor, k: float) -> Tensor:
    """Return the slope of the hyperbolic tangent, 1 − tanh², times that of its argument."""
    full = math.tanh(math.pi / (4 * k))
    # Rounding may take tanh, which is g times its value at the end, beyond 1.
    steepness = (1 - (value * full).square()).clamp_min(0)
    return steepness * arc_sine_slope(cosine) / (2 * k * full)


@dataclass(frozen=True, slots=True, kw_only=True)
class AngularRow:
    """An angular activation.

    Attributes:
        name: Value of `--angular`.
        summary: One line, with a full stop.
        source: Publication that it comes from.
        function: g of cos θ.
        slope: Derivative of g by cos θ.
        takes_k: Whether it depends on k.
    """

    name: str
    summary: str
    source: str = DECOUPLED
    function: AngularActivation
    slope: AngularSlope
    takes_k: bool = False


ANGULAR_ACTIVATIONS = Registry(
    "angular activation",
    [
        AngularRow(
            name="linear",
            summary="1 − 2θ/π.",
            function=linear,
            slope=linear_slope,
        ),
        AngularRow(
            name="cosine",
            summary="cos θ, as in a convolution.",
            function=cosine,
            slope=cosine_slope,
        ),
        AngularRow(
            name="sigmoid",
            summary="Sigmoid from 1 to −1, steep at π/2 for a small k.",
            function=sigmoid,
            slope=sigmoid_slope,
            takes_k=True,
        ),
        AngularRow(
            name="square-cosine",
            summary="sign(cos θ) cos² θ.",
            function=square_cosine,
            slope=square_cosine_slope,
        ),
    ],
)
