"""Batch norms that use the statistics of all processes' images."""

import torch
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import SyncBatchNorm, _BatchNorm

from covtool.errors import ArgumentError
from covtool.layers.synchronized_batch_norm import SynchronizedBatchNorm

_KNOWN = (_BatchNorm.forward, BatchNormAct2d.forward, SyncBatchNorm.forward)


def synchronize_batch_norms_(model: nn.Module, device: torch.device) -> nn.Module:
    """Let every batch norm use the statistics of all processes; names of weights stay.

    Args:
        model: Its batch norms are replaced.
        device: Where it will run: on CUDA by torch's own kernels.

    Raises:
        ArgumentError: A batch norm does something of its own.
    """
    norms = {n: m for n, m in model.named_modules() if isinstance(m, _BatchNorm)}
    for name, norm in norms.items():
        if type(norm).forward not in _KNOWN:
            raise ArgumentError(
                f"--sync-bn is not to be had with {name!r}: {type(norm).__name__} is a batch norm "
                "of its own kind."
            )
    if device.type == "cuda":
        return convert_sync_batchnorm(model)
    for norm in norms.values():
        norm.__class__ = SynchronizedBatchNorm
    return model
