"""A model as timm keeps it: the configuration beside its weights, and a folder opened by timm."""

from pathlib import Path
from typing import Any

import timm
from timm.models import get_pretrained_cfg
from torch import nn

from covtool.backbones.create import quietly
from covtool.backbones.image_size import arguments_size, native_size
from covtool.errors import VerificationError, reason_of
from covtool.specs import BaseSpec, InputSpec, Recipe


def timm_config(recipe: Recipe) -> dict[str, Any]:
    """Return the ``config.json`` with which timm builds a model and reads its images.

    Nothing of the architecture's published weights stays in it but what is true of any weights:
    their address, tag, license and test size are not this model's.

    Args:
        recipe: Recipe of a model that is timm's own; see `covtool.sharing.plain_timm`.
    """
    base, images = recipe.base, recipe.input
    arguments, is_fixed = _built_size(base, images)
    config: dict[str, Any] = {
        "architecture": base.name,
        "num_classes": recipe.num_classes,
        "pretrained_cfg": {
            "custom_load": False,
            "input_size": [images.channels, *images.size],
            "fixed_input_size": is_fixed,
            "interpolation": images.interpolation,
            "crop_pct": images.crop_pct,
            "crop_mode": images.crop_mode,
            "mean": _per_channel(images.mean, images.channels),
            "std": _per_channel(images.std, images.channels),
            "num_classes": recipe.num_classes,
            "pool_size": None,
            **_places(base),
        },
    }
    if arguments:
        config["model_args"] = arguments
    if recipe.class_names is not None:
        config["label_names"] = list(recipe.class_names)
    return config


def open_timm_folder(folder: Path) -> nn.Module:
    """Return the model that timm makes of a folder, in eval mode.

    Raises:
        VerificationError: timm does not open it.
    """
    try:
        with quietly():
            return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    # Whatever timm or an architecture's constructor says: it is the same to the user.
    except Exception as problem:
        raise VerificationError(
            "timm does not open what was written for it.", reason=reason_of(problem)
        ) from problem


def _built_size(base: BaseSpec, images: InputSpec) -> tuple[dict[str, Any], bool]:
    """Return the constructor's arguments, and whether timm is to build it for the images' size."""
    config = get_pretrained_cfg(base.name)
    arguments = dict(base.arguments)
    if config is None or not config.fixed_input_size:
        return arguments, False
    built = arguments_size(base) or native_size(base.library, base.name)
    if built is None or tuple(built) == tuple(images.size):
        return arguments, True
    # Of a model that takes other images than it was built for: timm would build it for these.
    return {**arguments, "img_size": list(built)}, False


def _places(base: BaseSpec) -> dict[str, Any]:
    """Return the names of the first layer and of the classifier, with which timm adapts them."""
    config = get_pretrained_cfg(base.name)
    names = ("first_conv", "classifier")
    return {name: getattr(config, name) for name in names} if config is not None else {}


def _per_channel(statistics: tuple[float, ...], channels: int) -> list[float]:
    return list(statistics * channels if len(statistics) == 1 else statistics)
