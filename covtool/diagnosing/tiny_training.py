"""A tiny network with a covariance head, forward and backward, against itself in float64."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covtool.backbones.create import create_model
from covtool.errors import VerificationError
from covtool.specs import BaseSpec, HeadSpec, InputSpec
from covtool.surgery import apply_head, plan_head

NAME = "test_resnet"  # timm's, for tests
IMAGES = InputSpec(size=(64, 64))
HEAD = HeadSpec(head="isqrt", dim=16)
NUM_CLASSES = 10
LIMIT = 1e-2  # relative error; float32 has about 1e-5, a device with TF32 about 1e-3


def train_tiny_network(device: str) -> str:
    """Compute logits and gradients in float32, and compare with the CPU's float64.

    Args:
        device: Device of the float32 part.

    Returns:
        How far they are apart, in words.

    Raises:
        VerificationError: They are further apart than rounding explains.
    """
    model, images, labels = _example()
    exact = _logits_and_gradient(deepcopy(model).double(), images.double(), labels)
    found = _logits_and_gradient(model.to(device), images.to(device), labels.to(device))
    errors = [_relative_error(got.cpu(), right) for got, right in zip(found, exact, strict=True)]
    report = "relative error against float64: logits {:.1e}, gradient {:.1e}".format(*errors)
    if not max(errors) < LIMIT:  # which NaN is not either
        raise VerificationError(f"{report}; at most {LIMIT:.0e} would be right")
    return report


def _example() -> tuple[nn.Module, Tensor, Tensor]:
    """Return the same network, images and labels every time; torch's generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = create_model(BaseSpec(library="timm", name=NAME), num_classes=NUM_CLASSES)
        model = apply_head(model, plan_head(model, HEAD, IMAGES))
        images = torch.randn(4, IMAGES.channels, *IMAGES.size)
    return model.train(), images, torch.arange(4)


def _logits_and_gradient(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logits = model(images)
    gradients = torch.autograd.grad(F.cross_entropy(logits, labels), list(model.parameters()))
    return logits.detach(), torch.cat([gradient.flatten() for gradient in gradients])


def _relative_error(found: Tensor, exact: Tensor) -> float:
    return float((found.cpu().double() - exact).norm() / exact.norm())
