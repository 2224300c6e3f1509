"""The check that the weights of a model are numbers, before anything is done with them."""

import torch
from torch import Tensor, nn

from covtool.backbones.fingerprint import is_relevant
from covtool.errors import CheckpointError
from covtool.printable import first_few

_SHOWN = 3


def require_finite(model: nn.Module, source: str) -> None:
    """Refuse a model with a weight or a statistic that is infinite or not a number.

    Args:
        model: Its state dict is looked at, once.
        source: Origin of the tensors, for the error.

    Raises:
        CheckpointError: There is such a value; the tensors are named, with how many they have.
    """
    broken = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if is_relevant(name) and tensor.is_floating_point() and not _is_finite(tensor)
    }
    if not broken:
        return
    shown = first_few(broken, _SHOWN, show=lambda name: f"{name} ({_count(broken[name])})")
    tensors = "1 tensor" if len(broken) == 1 else f"{len(broken)} tensors"
    raise CheckpointError(
        f"{source} has values that are infinite or not numbers, in {tensors}.",
        reason=f"{shown}.",
        hint="The training that wrote it diverged, or the file is damaged: take an earlier "
        "checkpoint. covtool inspect shows what is in it.",
    )


def _is_finite(tensor: Tensor) -> bool:
    # The sum is eight times as quick, and finite unless a value is not, or it is too large itself.
    return bool(tensor.sum().isfinite()) or bool(torch.isfinite(tensor).all())


def _count(tensor: Tensor) -> str:
    bad = tensor.numel() - int(torch.isfinite(tensor).sum())
    return f"{bad:,} of {tensor.numel():,}"
