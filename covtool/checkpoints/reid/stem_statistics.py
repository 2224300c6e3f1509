"""The first ReLU of a ResNet, present or not, recognized by its running statistics.

The first batch norm gives each channel a known mean and deviation, whatever the images are. With
the ReLU or without it, another mean reaches the first block, whose batch norms have recorded what
they were fed. How far the max pooling lifts a channel depends on its filter: it is measured on
images of rectangles that hide one another, which have the edges and the spectrum of photographs.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

_EXPLAINED = 0.6  # share of the recorded means' variation that the better assumption explains
_BETTER = 3.0  # times the error of the other one
_IMAGES, _SIDE, _RECTANGLES = 12, 96, 300
_SEED = 0
_FED_BY_THE_STEM = (
    ("layer1.0.conv1.weight", "layer1.0.bn1"),
    ("layer1.0.downsample.0.weight", "layer1.0.downsample.1"),
)


def has_first_relu(body: Mapping[str, Tensor]) -> bool | None:
    """Return whether there is a ReLU behind the first batch norm of a ResNet.

    Args:
        body: Tensors under torchvision's names, also with IBN-Net's parts.

    Returns:
        None where the statistics do not tell, as those that were never recorded.
    """
    needed = [body.get(name) for name in ("conv1.weight", "bn1.weight", "bn1.bias")]
    recorded = [found for pair in _FED_BY_THE_STEM if (found := _recorded(body, *pair))]
    if any(tensor is None for tensor in needed) or not recorded or needed[0].shape[1] != 3:
        return None
    weights, means = (torch.cat(parts) for parts in zip(*recorded, strict=True))
    normed = _normed_responses(*(tensor.float() for tensor in needed))
    # Without the ReLU, and with it.
    errors = [
        float((weights @ _pooled_mean(maps) - means).square().sum())
        for maps in (normed, normed.relu())
    ]
    variation = float((means - means.mean()).square().sum())
    best, other = min(errors), max(errors)
    if not best < (1 - _EXPLAINED) * variation or other < _BETTER * best:
        return None
    return errors[1] < errors[0]


def _recorded(
    body: Mapping[str, Tensor], convolution: str, norm: str
) -> tuple[Tensor, Tensor] | None:
    """Return a convolution's weight, summed over its window, and the means of its outputs."""
    weight = body.get(convolution)
    mean = body.get(f"{norm}.running_mean", body.get(f"{norm}.BN.running_mean"))
    if weight is None or mean is None or weight.ndim != 4:
        return None
    # In IBN-Net only the second half of the channels has a batch norm, and recorded means.
    return weight.double().sum(dim=(2, 3))[-len(mean) :], mean.double()


def _normed_responses(weight: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Return what a first convolution and its batch norm in training mode make of images."""
    responses = functional.conv2d(_images_of_rectangles(), weight, stride=2)
    return functional.batch_norm(responses, None, None, scale, shift, training=True)


def _pooled_mean(maps: Tensor) -> Tensor:
    return functional.max_pool2d(maps, 3, stride=2).mean(dim=(0, 2, 3)).double()


def _images_of_rectangles() -> Tensor:
    """Draw rectangles of all sizes, in colors that are mostly gray: shape (B, 3, H, W)."""
    generator = torch.Generator().manual_seed(_SEED)
    images = torch.zeros(_IMAGES, 3, _SIDE, _SIDE)
    for image in images:
        gray, tint = (torch.randn(_RECTANGLES, n, generator=generator) for n in (1, 3))
        sides = 2 * (_SIDE / 2) ** torch.rand(_RECTANGLES, 2, generator=generator)
        corners = torch.rand(_RECTANGLES, 2, generator=generator) * (_SIDE + sides) - sides
        for color, low, high in zip(gray + tint / 4, corners, corners + sides, strict=True):
            (top, left), (bottom, right) = low.clamp_min(0).int(), high.clamp_min(0).int()
            image[:, top:bottom, left:right] = color[:, None, None]
    return images
