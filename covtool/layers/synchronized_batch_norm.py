"""Batch normalization with the statistics of several processes, on devices that torch's is not for.

On CUDA torch's own `SyncBatchNorm` is faster; it refuses a CPU.
"""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.modules.batchnorm import _BatchNorm

from covtool.ops.precision import at_least_float32


class SynchronizedBatchNorm(_BatchNorm):
    """A batch norm over the images of all processes; in eval mode a batch norm like any other.

    An existing layer becomes one by a change of its class: parameters, buffers and names stay. A
    layer of timm's that also drops and activates (`BatchNormAct2d`) still does so.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Normalize (B, C, ...); B may differ between processes."""
        normalized = self._normalized(features) if self.training else super().forward(features)
        for name in ("drop", "act"):
            normalized = getattr(self, name, _same)(normalized)
        return normalized

    def _normalized(self, features: Tensor) -> Tensor:
        rows = at_least_float32(features)
        axes = [0, *range(2, features.ndim)]
        shape = (1, -1, *[1] * (features.ndim - 2))
        # Shares may differ in size: the count goes along in the same exchange.
        count_here = rows.new_tensor([rows.numel() / rows.shape[1]])
        totals = _sum_over_processes(torch.cat([rows.sum(axes), count_here]))
        count = totals[-1]
        mean = totals[:-1] / count
        # In two steps: E[x²] - m² would cancel in float32, and one more exchange is cheap.
        centered = rows - mean.view(shape)
        variance = _sum_over_processes(centered.square().sum(axes)) / count
        normalized = centered * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normalized = normalized * self.weight.view(shape) + self.bias.view(shape)
        if self.track_running_stats:
            # As torch does: biased for the batch, unbiased for what evaluation uses.
            self._follow(mean, variance * count / (count - 1))
        return normalized.to(features.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        momentum = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_(variance.to(self.running_var), momentum)

    def _check_input_dim(self, features: Tensor) -> None:
        """Accept any number of positions."""


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over processes, with the gradient of all that is computed from it."""

    @staticmethod
    def forward(ctx: FunctionCtx, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    # The loss of each process depends on the sum: its gradient is the sum of all processes'.
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _sum_over_processes(tensor: Tensor) -> Tensor:
    return _SumOverProcesses.apply(tensor) if dist.is_initialized() else tensor


def _same(features: Tensor) -> Tensor:
    return features
