"""Angular activations g of decoupled operators: how the angle θ between patch and kernel counts.

They take cos θ, which is what a convolution of directions gives, and do not increase with θ.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from covtool.ops.magnitudes import DECOUPLED
from covtool.registry import Registry

_NEAR_ENDS = {torch.float32: 1e-6, torch.float64: 1e-12}
"""Where the arc cosine is continued by its chord: its slope is infinite at the ends."""

AngularActivation = Callable[[Tensor, float], Tensor]
"""``g(cos θ, k)``; k is used by the sigmoid alone."""


def angle(cosine: Tensor) -> Tensor:
    """Return the angle θ in radians, from 0 to π, with finite slope everywhere.

    Within 1e-6 of cos θ = ±1 (1e-12 in float64) it is the chord of the arc cosine: exact at both
    ends, off by less than 4e-4 (4e-7) between.
    """
    margin = _NEAR_ENDS[cosine.dtype]
    size = cosine.abs()
    inside = size < 1 - margin
    # Masked before the arc cosine, not after: its infinite slope at 1 times a zero of the mask
    # would be NaN in the gradient.
    middle = torch.acos(torch.where(inside, cosine, 0))
    # A straight line to the exact value at the end: the slope is finite, the angle continuous.
    chord = (1 - size).clamp_min(0) * (math.acos(1 - margin) / margin)
    end = torch.where(cosine > 0, chord, math.pi - chord)
    return torch.where(inside, middle, end)


def cosine(cosine: Tensor, k: float) -> Tensor:
    """Return cos θ itself, as in a convolution."""
    return cosine


def linear(cosine: Tensor, k: float) -> Tensor:
    """1 − 2θ/π."""
    return 1 - angle(cosine) * (2 / math.pi)


def square_cosine(cosine: Tensor, k: float) -> Tensor:
    """sign(cos θ) cos² θ."""
    return cosine * cosine.abs()


def sigmoid(cosine: Tensor, k: float) -> Tensor:
    """Return a sigmoid in θ from 1 to −1, steeper at π/2 the smaller k is.

    The paper's quotient of exponentials is a hyperbolic tangent, which cannot overflow.
    """
    # The published fraction of exponentials, rewritten: it does not overflow for a small k.
    return torch.tanh((math.pi / 2 - angle(cosine)) / (2 * k)) / math.tanh(math.pi / (4 * k))


@dataclass(frozen=True, slots=True, kw_only=True)
class AngularRow:
    """An angular activation.

    Attributes:
        name: Value of `--angular`.
        summary: One line, with a full stop.
        source: Publication that it comes from.
        function: g of cos θ.
        takes_k: Whether it depends on k.
    """

    name: str
    summary: str
    source: str = DECOUPLED
    function: AngularActivation
    takes_k: bool = False


ANGULAR_ACTIVATIONS = Registry(
    "angular activation",
    [
        AngularRow(name="linear", summary="1 − 2θ/π.", function=linear),
        AngularRow(name="cosine", summary="cos θ, as in a convolution.", function=cosine),
        AngularRow(
            name="sigmoid",
            summary="Sigmoid from 1 to −1, steep at π/2 for a small k.",
            function=sigmoid,
            takes_k=True,
        ),
        AngularRow(name="square-cosine", summary="sign(cos θ) cos² θ.", function=square_cosine),
    ],
)
