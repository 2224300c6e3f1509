"""Make half of a batch norm's channels an instance norm, as IBN-Net (a) does."""

import re
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn

from covtool.errors import SurgeryError
from covtool.layers.instance_batch_norm import InstanceBatchNorm2d
from covtool.specs import InstanceBatchNormSpec
from covtool.surgery.module_types import module_at, replace_

# As published: an instance norm takes appearance out, and the last stage is left to content.
_FIRST_OF_A_BLOCK = re.compile(r"layer[123]\.\d+\.bn1")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceBatchNormPlan:
    """How `apply_instance_batch_norm` will change a model.

    Attributes:
        spec: The request, which may leave the layers open.
        layers: Paths of the batch norms.
    """

    spec: InstanceBatchNormSpec
    layers: tuple[str, ...]


def plan_instance_batch_norm(
    model: nn.Module, spec: InstanceBatchNormSpec
) -> InstanceBatchNormPlan:
    """Find the batch norms.

    Args:
        model: Left as it is.
        spec: The request.

    Raises:
        SurgeryError: There are none, or what is named is not a batch norm.
    """
    norms = [path for path, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)]
    layers = spec.layers
    if layers is None:
        layers = tuple(path for path in norms if _FIRST_OF_A_BLOCK.fullmatch(path))
    done = [path for path, m in model.named_modules() if isinstance(m, InstanceBatchNorm2d)]
    if done and (not layers or set(done) & set(layers)):
        raise SurgeryError(
            f"{done[0]!r} is half an instance norm already.",
            hint="Start from the checkpoint that this file was converted from.",
        )
    unknown = [path for path in layers if path not in norms]
    if unknown or not layers:
        raise SurgeryError(
            f"{type(model).__name__} has no batch norm {unknown[0]!r}."
            if unknown
            else f"{type(model).__name__} has no blocks of a ResNet.",
            hint="IBN-Net (a) changes the first batch norm of each block of a ResNet's stages 1 "
            "to 3: layer1.0.bn1 and so on.",
        )
    return InstanceBatchNormPlan(spec=spec, layers=layers)


def apply_instance_batch_norm(model: nn.Module, plan: InstanceBatchNormPlan) -> nn.Module:
    """Return a copy of `model` with the planned norms; `model` itself is not changed.

    Scales and shifts stay with their channels, and so do the statistics of those that keep them.
    """
    operated = deepcopy(model)
    for path in plan.layers:
        old = module_at(operated, path, nn.BatchNorm2d)
        new = InstanceBatchNorm2d(old.num_features).to(old.weight.device, old.weight.dtype)
        _take_over_(new, old)
        replace_(operated, path, new.train(old.training))
    return operated


@torch.no_grad()
def _take_over_(new: InstanceBatchNorm2d, old: nn.BatchNorm2d) -> None:
    first = new.IN.num_features
    for name in ("weight", "bias"):
        getattr(new.IN, name).copy_(getattr(old, name)[:first])
        getattr(new.BN, name).copy_(getattr(old, name)[first:])
    # The instance norm keeps no statistics: those of its channels are dropped.
    for name in ("running_mean", "running_var"):
        getattr(new.BN, name).copy_(getattr(old, name)[first:])
