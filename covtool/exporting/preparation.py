"""Layers around a network that is exported: its preparation of pixels, its precision."""

from copy import deepcopy

import torch
from torch import Tensor, nn

from covtool.data.transforms.from_timm import channel_statistics
from covtool.data.transforms.normalization import WHITE
from covtool.exporting.records import ExportRequest, Interface
from covtool.specs import InputSpec

LOGITS = "logits"
BATCH = "batch"


class Deployed(nn.Module):
    """A network with its preparation of pixels, in its precision.

    Args:
        network: Images (B, C, H, W) to logits (B, K); its parameters' type is the precision.
        images: Images that it expects.
        takes_pixels: Whether the input is pixels, (B, H, W, C) in uint8.

    Shape:
        (B, C, H, W) in float32, or pixels -> (B, K) in float32
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, images: InputSpec, *, takes_pixels: bool) -> None:
        super().__init__()
        self.network = network
        self.takes_pixels = takes_pixels
        self.dtype = next(network.parameters()).dtype
        if takes_pixels:
            mean, std = channel_statistics(images)
            self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
            self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        if self.takes_pixels:
            # In the order of `Normalization`, and in float32: the same numbers to the last bit.
            images = (images.permute(0, 3, 1, 2).float() / WHITE - self.mean) / self.std
        return self.network(images.to(self.dtype)).float()


def in_float32(model: nn.Module) -> nn.Module:
    """Return a model whose weights are float32: itself, or a copy."""
    dtype = weights_dtype(model)
    return model if dtype is torch.float32 else deepcopy(model).float()


def weights_dtype(model: nn.Module) -> torch.dtype:
    """Return the type of a model's weights; float32 where they are of several."""
    dtypes = {weight.dtype for weight in model.parameters() if weight.is_floating_point()}
    return dtypes.pop() if len(dtypes) == 1 else torch.float32


def deployed(model: nn.Module, images: InputSpec, request: ExportRequest) -> nn.Module:
    """Return what is exported of a model, without gradients; the model stays as it is."""
    network = deepcopy(model).eval().requires_grad_(False)
    if request.half:
        network = network.half()
    if not (request.half or request.preprocess):
        return network  # parameters keep their names
    return Deployed(network, images, takes_pixels=request.preprocess).eval()


def interface_of(images: InputSpec, *, takes_pixels: bool) -> Interface:
    """Return input and output of the exported program."""
    height, width = images.size
    shape = (height, width, images.channels) if takes_pixels else (images.channels, height, width)
    return Interface(
        input="pixels" if takes_pixels else "images",
        dtype="uint8" if takes_pixels else "float32",
        shape=(BATCH, *shape),
        output=LOGITS,
        images=images,
        normalizes=takes_pixels,
    )


def example(interface: Interface, count: int = 2) -> Tensor:
    """Return zeros of the shape and type that go in."""
    return torch.zeros(count, *interface.shape[1:], dtype=getattr(torch, interface.dtype))
