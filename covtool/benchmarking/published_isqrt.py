"""The arithmetic of the published iSQRT-COV layer: what every product of it costs, for comparison.

As the paper's equations and the released layer have it: the covariance by an N x N centring matrix,
all iterates kept, and a backward pass that is written out, on C x C matrices throughout.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from covtool.ops.covariance import triu_vec

ITERATIONS = 5


def published_isqrt(features: Tensor) -> Tensor:
    """Return the upper triangle of the approximate root, 5 steps: (B, C, H, W) -> (B, C*(C+1)/2).

    Source:
        Li, Xie, Wang, Gao. "Towards Faster Training of Global Covariance Pooling Networks by
        Iterative Matrix Square Root Normalization", CVPR 2018, equations 1 to 12.
    """
    root: Tensor = _Root.apply(_Covariance.apply(features.flatten(2)))
    return triu_vec(root)


class _Covariance(torch.autograd.Function):
    """X -> X J X' with the centring matrix J = (I - 11'/N)/N."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor) -> Tensor:
        n = flat.shape[-1]
        identity = torch.eye(n, dtype=flat.dtype, device=flat.device)
        # One for each sample, as published.
        centring = ((identity - 1 / n) / n).expand(len(flat), n, n).contiguous()
        ctx.save_for_backward(flat, centring)
        return flat @ centring @ flat.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        flat, centring = ctx.saved_tensors
        return (grad + grad.mT) @ flat @ centring


class _Root(torch.autograd.Function):
    """Σ -> root of Σ by coupled Newton-Schulz steps on Σ / tr Σ."""

    @staticmethod
    def forward(ctx: Any, cov: Tensor) -> Tensor:
        identity = 3 * torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device)
        trace = cov.diagonal(dim1=-2, dim2=-1).sum(dim=-1)[:, None, None]
        unit = cov / trace
        step = (identity - unit) / 2
        Y, Z = [unit @ step], [step]
        for _ in range(ITERATIONS - 2):
            step = (identity - Z[-1] @ Y[-1]) / 2
            Y.append(Y[-1] @ step)
            Z.append(step @ Z[-1])
        last = Y[-1] @ (identity - Z[-1] @ Y[-1]) / 2
        ctx.save_for_backward(cov, trace, unit, last, *Y, *Z)
        return last * trace.sqrt()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        cov, trace, unit, last, *iterates = ctx.saved_tensors
        Y, Z = iterates[: ITERATIONS - 1], iterates[ITERATIONS - 1 :]
        identity = 3 * torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device)
        inner = grad * trace.sqrt()
        to_trace = (grad * last).sum(dim=(-2, -1), keepdim=True) / (2 * trace.sqrt())
        y, z = Y[-1], Z[-1]
        dY = (inner @ (identity - y @ z) - z @ y @ inner) / 2
        dZ = -(y @ inner @ y) / 2
        for y, z in zip(reversed(Y[:-1]), reversed(Z[:-1]), strict=True):
            left, right = identity - y @ z, z @ y
            dY, dZ = (
                (dY @ left - z @ dZ @ z - right @ dY) / 2,
                (left @ dZ - y @ dY @ y - dZ @ right) / 2,
            )
        to_unit = ((dY @ (identity - unit) - dZ - unit @ dY) / 2).mT
        to_trace = to_trace - (to_unit * cov).sum(dim=(-2, -1), keepdim=True) / trace.square()
        return to_unit / trace + to_trace * identity / 3
