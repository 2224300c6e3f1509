"""A recipe that a file holds: validated, and whole in itself, before anything is made of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from covtool.documents import parse_json
from covtool.errors import reason_of
from covtool.run_files.settings import read_settings, unusable
from covtool.specs.base_arguments import base_problem
from covtool.specs.first_version import upgrade
from covtool.specs.problems import first_problem
from covtool.specs.recipe import Recipe

LARGEST_RESIZED = 16_384
"""Pixels of the side to which an image is resized before its center is cropped."""


def recipe_of_json(text: str) -> Recipe:
    """Return the recipe in a JSON document.

    Raises:
        ValueError: It is none; the reason is one line with the key.
    """
    return recipe_of(parse_json(text))


def recipe_of_run(path: Path) -> Recipe:
    """Return the recipe in recipe.yaml of a run.

    Raises:
        ArgumentError: It cannot be read, or is none.
    """
    values = read_settings(path)
    try:
        return recipe_of(values)
    except ValueError as problem:
        raise unusable(path, reason_of(problem)) from problem


def recipe_of(value: Any) -> Recipe:
    """Return the recipe that plain values describe, of this version or an older one.

    Raises:
        ValueError: They describe none, or one that contradicts itself; the reason is one line with
            the key.
    """
    try:
        recipe = Recipe.model_validate(upgrade(value))
    except ValidationError as problem:
        raise ValueError(first_problem(problem)) from problem
    for contradiction in _contradictions(recipe):
        raise ValueError(contradiction)
    return recipe


def _contradictions(recipe: Recipe) -> Iterator[str]:
    base, images = recipe.base, recipe.input
    problem = base_problem(base.library, base.name, base.arguments)
    if problem is not None:
        yield problem
    # Names of other classes would be shown beside the answers.
    if recipe.class_names is not None and len(recipe.class_names) != recipe.num_classes:
        count = f"{len(recipe.class_names):,} names for {recipe.num_classes:,} classes"
        yield f"class_names: There are {count}"
    # A tiny share of a large image: the resized one would fill the memory.
    if images.crop_mode == "center" and max(images.size) / images.crop_pct > LARGEST_RESIZED:
        yield f"input.crop_pct: Images would be resized to over {LARGEST_RESIZED:,} pixels a side"
    for name in ("mean", "std"):
        # Three numbers stand for RGB; an image of one channel gets their average.
        if len(getattr(images, name)) not in (1, 3, images.channels):
            count = f"{len(getattr(images, name))} numbers for {images.channels} channels"
            yield f"input.{name}: There are {count}"
