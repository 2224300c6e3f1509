"""A model's recipe, where its users and timm look for what a model expects."""

from typing import Any

from covtool.data.transforms.preparation import Preparation
from covtool.specs import Recipe

# What timm's configuration says of other images, or of other classes.
_OTHERS = ("test_input_size", "test_crop_pct", "pool_size", "label_names", "label_descriptions")


def attach_recipe(model: Any, recipe: Recipe) -> None:
    """Put `recipe` on a model, in place, with everything of the model that follows from it.

    ``timm.data.resolve_model_data_config(model)`` gives the images of the recipe then, for
    torchvision's models as well, not those of the architecture's published weights.

    Args:
        model: Any module. Gets ``recipe``; ``transform``, evaluation's preparation of an image;
            ``class_names``, one per output or None; ``pretrained_cfg`` and ``default_cfg``.
        recipe: Recipe of that model.
    """
    images = recipe.input
    config = dict(getattr(model, "pretrained_cfg", None) or {})
    kept = {name: value for name, value in config.items() if name not in _OTHERS}
    described = {
        "architecture": recipe.base.name,
        "num_classes": recipe.num_classes,
        "input_size": (images.channels, *images.size),
        "mean": _per_channel(images.mean, images.channels),
        "std": _per_channel(images.std, images.channels),
        "interpolation": images.interpolation,
        "crop_pct": images.crop_pct,
        "crop_mode": images.crop_mode,
    }
    if recipe.class_names is not None:
        described["label_names"] = list(recipe.class_names)
    model.recipe = recipe
    model.transform = Preparation(images)
    model.class_names = recipe.class_names
    # timm reads the one, older code the other.
    model.pretrained_cfg = model.default_cfg = {**kept, **described}


def detach_recipe(model: Any) -> None:
    """Take the recipe off a model that it no longer describes, in place; the images stay."""
    model.recipe = model.class_names = None


def _per_channel(statistics: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return statistics * channels if len(statistics) == 1 else statistics
