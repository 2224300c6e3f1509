"""Let the patches of a vision transformer overlap."""

from copy import deepcopy
from dataclasses import dataclass

from torch import nn

from covtool.backbones.patches import patch_grid, set_patch_stride_
from covtool.specs import InputSpec, PatchStrideSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchStridePlan:
    """How `apply_patch_stride` will change a model.

    Attributes:
        spec: The request.
        size: Height and width of the images.
        grid: Rows and columns of the patches.
    """

    spec: PatchStrideSpec
    size: tuple[int, int]
    grid: tuple[int, int]


def plan_patch_stride(
    model: nn.Module, spec: PatchStrideSpec, images: InputSpec
) -> PatchStridePlan:
    """Work out the new grid.

    Args:
        model: Left as it is.
        spec: The request.
        images: The images that the model expects.

    Raises:
        SurgeryError: The model is not a vision transformer, or the image smaller than a patch.
    """
    grid = patch_grid(model, spec.stride, images.size)
    return PatchStridePlan(spec=spec, size=images.size, grid=grid)


def apply_patch_stride(model: nn.Module, plan: PatchStridePlan) -> nn.Module:
    """Return a copy of `model` with patches of another stride; `model` itself is not changed."""
    operated = deepcopy(model)
    # The size is the recipe's: positions are resampled for its grid, and for no other.
    set_patch_stride_(operated, plan.spec.stride, plan.size)
    return operated
