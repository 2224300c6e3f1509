"""The two functions of a decoupled operator, from the rows of their tables."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from covtool.ops.angular import AngularRow
from covtool.ops.magnitudes import MagnitudeRow


class Decoupling(NamedTuple):
    """h and g of a decoupled operator, with their parameters.

    Attributes:
        magnitude: h; None for the norm itself.
        angular: g; None for the cosine itself.
        radius: Function that returns ρ, shape () or (O, 1, 1). Needed where h takes a radius.
        follow: Function that is given the norms (B, groups, H', W') of each pass before that; None
            where ρ does not depend on them.
        beta: β of h.
        k: k of g.
        factor: Multiplies h, shape (O, 1, 1); None for 1.
    """

    magnitude: MagnitudeRow | None = None
    angular: AngularRow | None = None
    radius: Callable[[], Tensor] | None = None
    follow: Callable[[Tensor], None] | None = None
    beta: float = 0.0
    k: float = 0.3
    factor: Tensor | None = None

    def current_radius(self, like: Tensor) -> Tensor:
        """Return ρ in the dtype of a tensor; 1 where h takes none."""
        if self.magnitude is None or not self.magnitude.takes_radius or self.radius is None:
            return like.new_ones(())
        return self.radius().to(like.dtype)

    def strength(self, norm: Tensor, radius: Tensor) -> Tensor:
        """Return h of norms."""
        if self.magnitude is None:
            return norm
        strength = self.magnitude.function(norm, radius, self.beta)
        return strength if self.factor is None else strength * self.factor

    def activation(self, cosine: Tensor) -> Tensor:
        """Return g of cosines."""
        return cosine if self.angular is None else self.angular.function(cosine, self.k)

    def slope(self, norm: Tensor, strength: Tensor, radius: Tensor) -> Tensor:
        """Return the derivative of h by the norm."""
        if self.magnitude is None:
            return torch.ones_like(norm)
        return self.magnitude.slope(norm, strength, radius, self.beta)

    def radius_slope(self, norm: Tensor, strength: Tensor, slope: Tensor, radius: Tensor) -> Tensor:
        """Return the derivative of h by ρ."""
        assert self.magnitude is not None
        assert self.magnitude.radius_slope is not None
        return self.magnitude.radius_slope(norm, strength, slope, radius)

    def activation_slope(self, cosine: Tensor, activation: Tensor) -> Tensor:
        """Return the derivative of g by the cosine."""
        assert self.angular is not None
        return self.angular.slope(cosine, activation, self.k)
