"""Undo the last downsampling: the last stage keeps its weights and sees twice the resolution."""

from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import nn

from covtool.backbones.sites import find_sites
from covtool.backbones.tracing import trace_calls
from covtool.errors import SurgeryError
from covtool.specs import InputSpec, LastStrideSpec
from covtool.surgery.module_types import replace_

# Only these keep their meaning at stride 1, and only with an odd kernel.
_STRIDABLE = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


class _Strided(Protocol):
    """A convolution or a pooling; poolings may hold a number where convolutions hold a pair."""

    stride: int | tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastStridePlan:
    """How `apply_last_stride` will change a model.

    Attributes:
        spec: The request.
        strided: Paths of the convolutions and poolings whose stride becomes 1.
        removed: Paths of the poolings that have nothing left to do.
        positions: Positions of the last feature map, before.
    """

    spec: LastStrideSpec
    strided: tuple[str, ...]
    removed: tuple[str, ...]
    positions: int


def plan_last_stride(model: nn.Module, spec: LastStrideSpec, images: InputSpec) -> LastStridePlan:
    """Find the modules that halve the resolution for the last time.

    Args:
        model: Model that `covtool.backbones.create_model` returned. Left as it is.
        spec: The request.
        images: The images that the model expects.

    Raises:
        SurgeryError: There are none, or one of them cannot do without its stride.
    """
    positions = find_sites(model, images.size, images.channels).default_tap.positions
    parameter = next(model.parameters())
    image = torch.zeros(1, images.channels, *images.size, dtype=parameter.dtype)
    strided: list[str] = []
    removed: list[str] = []
    for call in trace_calls(model, image.to(parameter.device)):
        module = model.get_submodule(call.path)
        # More than twice, not four times: an odd side is rounded up.
        halves = len(call.source_shape) == len(call.shape) == 4 and (
            _area(call.shape) == positions and _area(call.source_shape) > 2 * positions
        )
        # Containers show the same shapes as the layer in them.
        if not halves or any(module.children()):
            continue
        (removed if _is_only_pooling(module) else strided).append(_checked(call.path, module))
    if not strided and not removed:
        raise SurgeryError(
            f"{type(model).__name__} has no strided layer before its last feature map.",
            hint="Leave --last-stride out.",
        )
    return LastStridePlan(
        spec=spec, strided=tuple(strided), removed=tuple(removed), positions=positions
    )


def apply_last_stride(model: nn.Module, plan: LastStridePlan) -> nn.Module:
    """Return a copy of `model` without the last downsampling; `model` itself is not changed."""
    operated = deepcopy(model)
    for path in plan.strided:
        # The plan holds paths of `_STRIDABLE` alone; torch types their strides differently.
        module = cast("_Strided", operated.get_submodule(path))
        module.stride = 1 if isinstance(module.stride, int) else (1, 1)
    for path in plan.removed:
        replace_(operated, path, nn.Identity())
    return operated


def _area(shape: tuple[int, ...]) -> int:
    return shape[2] * shape[3]


def _is_only_pooling(module: nn.Module) -> bool:
    return isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and _side(module.kernel_size) == 2


def _checked(path: str, module: nn.Module) -> str:
    # A 2x2 pooling at stride 1 would shift the map by half a position: it goes altogether.
    if _is_only_pooling(module):
        return path
    if not isinstance(module, _STRIDABLE) or _side(module.kernel_size) % 2 == 0:
        raise SurgeryError(
            f"{path!r} ({type(module).__name__}) cannot do without its stride.",
            reason="Only convolutions and poolings with an odd kernel keep their meaning at "
            "stride 1; patches that do not overlap would.",
            hint="Leave --last-stride out, or tap an earlier feature map with --tap.",
        )
    return path


def _side(kernel_size: int | tuple[int, ...]) -> int:
    return kernel_size if isinstance(kernel_size, int) else kernel_size[0]
