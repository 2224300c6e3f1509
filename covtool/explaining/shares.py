"""Shares that positions of a feature map have in a logit, and Grad-CAM; tensors in, tensors out.

Write v(X) for the pooled vector of a map X with positions x_1, ..., x_N, and z for a logit. To
first order, each position's share in z is x_p · ∂z/∂x_p, and by Euler's theorem, where v is
homogeneous of degree d (v(tX) = t^d v(X)),

    sum_p x_p · ∂z/∂x_p = d <∂z/∂v, v>.

So the shares s_p = x_p · ∂z/∂x_p / d sum to the response <∂z/∂v, v>, which is the logit without
its bias where the classifier is linear in v: they are complete. A head of the covariance
C = 1/N sum_p (x_p - m)(x_p - m)' does not see the mean m: ∂z/∂x_p = 2/N G (x_p - m) with
G = ∂z/∂C, and

    (x_p - m) · ∂z/∂x_p = 2/N (x_p - m)' G (x_p - m),

whose sum is 2 <G, C>. There d is twice the degree in C: 1 for a square root, 2 for the covariance
itself, 2α for its power. What has no degree (a logarithm), or degree 0 (a matrix over its norm),
has shares 1/N (x_p - m)' G (x_p - m), the expansion itself, and they sum to no logit.
"""

from collections.abc import Callable
from math import log2
from typing import NamedTuple

import torch
from torch import Tensor

_TOLERANCE = 1e-3  # of a relative difference: iterations in float32 leave less

_ROUNDING = 1e-4  # of sums in float32, of gradients through some iterations


class Law(NamedTuple):
    """How a pooling answers to shifts and scales of its map.

    Attributes:
        degree: d of v(tX) = t^d v(X); 0 where scale does not matter, None where there is no degree.
        is_centered: Whether a shift of all positions changes nothing.
    """

    degree: float | None
    is_centered: bool

    @property
    def is_complete(self) -> bool:
        """Whether shares sum to the response."""
        return bool(self.degree)


def law_of(pool: Callable[[Tensor], Tensor], features: Tensor) -> Law:
    """Measure how a pooling answers to shifts and scales, on the maps of a batch.

    Measured, not looked up: it depends on a head's options (``post_norm``, ``alpha``), and a new
    head needs no entry.

    Args:
        pool: Maps (B, D, H, W) to vectors (B, F); called three times, without gradients.
        features: The maps.
    """
    with torch.no_grad():
        pooled = pool(features).double()
        doubled = pool(2 * features).double()  # by 2, which rounds nothing
        centered = pool(features - features.mean(dim=(2, 3), keepdim=True)).double()
    is_centered = _is_close(centered, pooled)
    norm, twice = float(pooled.norm()), float(doubled.norm())
    if not (norm > 0 and twice > 0):
        return Law(None, is_centered)
    degree = log2(twice / norm)
    if not _is_close(doubled, 2**degree * pooled):
        return Law(None, is_centered)
    return Law(0.0 if abs(degree) < _TOLERANCE else degree, is_centered)


def shares(features: Tensor, gradient: Tensor, law: Law) -> Tensor:
    """Return each position's share in a logit, (B, D, H, W) -> (B, H, W) with its sign.

    Args:
        features: Map that is pooled. Not modified.
        gradient: ∂z/∂features.
        law: Degree and centering of the pooling.
    """
    if law.is_centered:
        features = features - features.mean(dim=(2, 3), keepdim=True)
    # Without a degree, the expansion in the second moments: half of that in the features.
    return (features * gradient).sum(dim=1) / (law.degree or 2.0)


def grad_cam(features: Tensor, gradient: Tensor) -> Tensor:
    """Return the positive part of the activations, weighted by their mean gradients.

    Args:
        features: Activations, shape (B, D, H, W). Not modified.
        gradient: ∂z/∂features.

    Returns:
        Shape (B, H, W), nothing below 0.

    Source:
        Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra. "Grad-CAM: Visual Explanations from Deep
        Networks via Gradient-based Localization", ICCV 2017, equations 1 and 2.
    """
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * features).sum(dim=1).clamp_min(0)


def has_no_mean(gradient: Tensor) -> bool:
    """Return whether mean gradients are 0 but for rounding, as behind a centered covariance.

    A shift of all positions changes nothing there, so that the gradients of a channel sum to 0.

    Args:
        gradient: ∂z/∂features, shape (B, D, H, W).
    """
    means, size = gradient.mean(dim=(2, 3)), gradient.abs().mean(dim=(2, 3))
    return bool(size.any()) and bool(means.norm() <= _ROUNDING * size.norm())


def spread(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Return shares on another grid: each is divided over the area that it covers; the sum stays.

    Args:
        values: Shape (..., H, W). Not modified.
        size: Rows and columns of the new grid.
    """
    if values.shape[-2:] == size:
        return values
    rows = _overlaps(values.shape[-2], size[0]).to(values)
    columns = _overlaps(values.shape[-1], size[1]).to(values)
    return rows @ values @ columns.mT


def _overlaps(old: int, new: int) -> Tensor:
    """Return the part of each of `old` intervals that lies in each of `new`, (new, old)."""
    at, from_ = torch.arange(new).double()[:, None], torch.arange(old).double()
    ends = torch.minimum((at + 1) / new, (from_ + 1) / old)
    starts = torch.maximum(at / new, from_ / old)
    return (ends - starts).clamp_min(0) * old


def _is_close(first: Tensor, second: Tensor) -> bool:
    return bool((first - second).norm() <= _TOLERANCE * second.norm())
