"""Checkpoints of many kinds, as training scripts leave them."""

import timm
import torch
from torch import nn


def tiny_model(**arguments) -> nn.Module:
    """test_resnet with random weights and other than fresh statistics, in eval mode."""
    torch.manual_seed(0)
    model = timm.create_model("test_resnet", **arguments).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
    return model


def prefixed(state, prefix):
    return {prefix + name: tensor for name, tensor in state.items()}


def shapes_only(model) -> dict[str, torch.Tensor]:
    """A state dict with the right names and shapes that takes no room on the disk."""
    return {
        name: torch.zeros((), dtype=tensor.dtype, device="cpu").expand(tensor.shape)
        for name, tensor in model.state_dict().items()
    }
