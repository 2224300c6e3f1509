"""The ``config.json`` beside a covtool file on the hub."""

import json
from typing import Any

from covtool import __version__
from covtool.backbones.timm_folder import timm_config
from covtool.checkpoints.hub import MARK
from covtool.specs import Recipe
from covtool.specs.operations import operation_name


def hub_config(recipe: Recipe, *, with_timm: bool) -> bytes:
    """Return the configuration: timm's where timm opens the file, else only what it is.

    Without timm's key ``architecture`` neither timm nor another library takes the file for a model
    of its own; the key ``covtool`` is what ``hf-hub:ORG/NAME`` recognizes it by.

    Args:
        recipe: Recipe of the model.
        with_timm: Whether timm opens the file beside it.
    """
    about = {
        "version": __version__,
        "base": recipe.base.model_dump(mode="json"),
        "operations": list(map(operation_name, recipe.operations)),
    }
    described: dict[str, Any] = timm_config(recipe) if with_timm else _described(recipe)
    text = json.dumps({**described, MARK: about}, indent=2)  # ASCII: as any reader takes it
    return f"{text}\n".encode()


def _described(recipe: Recipe) -> dict[str, Any]:
    images = recipe.input.model_dump(mode="json")
    names = None if recipe.class_names is None else list(recipe.class_names)
    return {
        "library_name": "covtool",
        "model_type": "covtool",
        "num_classes": recipe.num_classes,
        "input": images,
        "label_names": names,
    }
