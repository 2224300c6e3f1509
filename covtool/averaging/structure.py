"""The check that two recipes describe one structure, with outputs that mean the same."""

from itertools import zip_longest
from typing import Any

from covtool.errors import CheckpointError
from covtool.printable import printable
from covtool.specs import Recipe
from covtool.specs.record import Record

LONGEST_VALUE = 80
"""Characters of a value in the error."""

_ORDER_HINT = (
    "An output would be the mean of two classes. Train both with the same class list, from one file"
)


def require_same_structure(first: str, recipe: Recipe, name: str, other: Recipe) -> None:
    """Refuse models whose tensors do not stand for the same thing, with the first difference.

    Args:
        first: Name of the first model.
        recipe: Its recipe.
        name: Name of the other model.
        other: Its recipe.

    Raises:
        CheckpointError: Base, operations, classes or images differ.
    """
    found = _first_difference(recipe, other)
    if found is None:
        return
    where, mine, others, hint = found
    raise CheckpointError(
        f"{first} and {name} are of different structure, and cannot be averaged.",
        reason=f"{where}: {_shown(mine)} and {_shown(others)}.",
        hint=hint,
    )


def _first_difference(one: Recipe, two: Recipe) -> tuple[str, Any, Any, str | None] | None:
    for field in ("base", "operations"):
        found = _of_records(field, getattr(one, field), getattr(two, field))
        if found is not None:
            return (*found, "Average models that were made by the same operations.")
    if one.num_classes != two.num_classes:
        return "classes", one.num_classes, two.num_classes, None
    if one.class_names != two.class_names:
        return _of_classes(one.class_names, two.class_names)
    found = _of_records("input", one.input, two.input)
    hint = "Their figures would be those of different images. Train them on the same ones."
    return None if found is None else (*found, hint)


def _of_classes(
    one: tuple[str, ...] | None, two: tuple[str, ...] | None
) -> tuple[str, Any, Any, str]:
    if one is None or two is None:
        known = ("known" if names else "not known" for names in (one, two))
        return "class names", *known, f"{_ORDER_HINT}."
    number = next(n for n, names in enumerate(zip(one, two, strict=True)) if names[0] != names[1])
    same = sorted(one) == sorted(two)
    where = f"class {number}" + (", of the same classes in another order" if same else "")
    return where, one[number], two[number], f"{_ORDER_HINT}."


def _of_records(where: str, one: Any, two: Any) -> tuple[str, Any, Any] | None:
    """Return the place of the first difference, and both values."""
    if one == two:
        return None
    if isinstance(one, Record) and type(one) is type(two):
        fields = type(one).model_fields
        name = next(name for name in fields if getattr(one, name) != getattr(two, name))
        return _of_records(f"{where}.{name}", getattr(one, name), getattr(two, name))
    if where == "operations":
        pairs = enumerate(zip_longest(one, two))
        number, (mine, others) = next((n, pair) for n, pair in pairs if pair[0] != pair[1])
        return _of_records(f"operation {number + 1}", mine, others)
    return where, one, two


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    word = getattr(value, "operation", value)
    return printable(str(word), longest=LONGEST_VALUE)
