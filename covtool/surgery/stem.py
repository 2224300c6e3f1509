"""Change what a ResNet does between its first batch norm and its first stage."""

from copy import deepcopy
from dataclasses import dataclass

from torch import nn

from covtool.errors import SurgeryError
from covtool.specs import StemSpec
from covtool.surgery.module_types import module_at, replace_

_ACTIVATIONS = ("act1", "relu")  # timm's name and torchvision's


@dataclass(frozen=True, slots=True, kw_only=True)
class StemPlan:
    """How `apply_stem` will change a model.

    Attributes:
        spec: The request.
        activation: Path of the activation that goes; None where it stays.
        max_pooling: Path of the max pooling that loses its padding; None where it stays.
    """

    spec: StemSpec
    activation: str | None
    max_pooling: str | None


def plan_stem(model: nn.Module, spec: StemSpec) -> StemPlan:
    """Find the activation and the pooling of a ResNet's stem.

    Args:
        model: Left as it is.
        spec: The request.

    Raises:
        SurgeryError: The model has no such stem.
    """
    activation = next(
        (name for name in _ACTIVATIONS if isinstance(getattr(model, name, None), nn.ReLU)), None
    )
    pooling = "maxpool" if isinstance(getattr(model, "maxpool", None), nn.MaxPool2d) else None
    if activation is None or pooling is None:
        raise SurgeryError(
            f"{type(model).__name__} does not begin as a plain ResNet does: convolution, batch "
            "norm, ReLU, max pooling.",
            hint="A stem whose ReLU is gone already cannot be changed again.",
        )
    return StemPlan(
        spec=spec,
        activation=activation if spec.activation == "none" else None,
        max_pooling=pooling if spec.max_pooling == "unpadded" else None,
    )


def apply_stem(model: nn.Module, plan: StemPlan) -> nn.Module:
    """Return a copy of `model` with another stem; `model` itself is not changed."""
    operated = deepcopy(model)
    if plan.activation is not None:
        replace_(operated, plan.activation, nn.Identity())
    if plan.max_pooling is not None:
        old = module_at(operated, plan.max_pooling, nn.MaxPool2d)
        # As fast-reid pools: no padding, and the last window may stand over the edge.
        new = nn.MaxPool2d(old.kernel_size, stride=old.stride, ceil_mode=True)
        replace_(operated, plan.max_pooling, new)
    return operated
