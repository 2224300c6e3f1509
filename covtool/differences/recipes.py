"""Differences between two recipes, field by field."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Any

from covtool.specs import Operation, Recipe

APART = ("operations", "class_names", "provenance")
"""Fields of a recipe that are compared in their own ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldDifference:
    """A field with two values.

    Attributes:
        field: Path of the field.
        before: Value in the first; None where it has none.
        after: Value in the second.
    """

    field: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassDifference:
    """Differences between the classes of two models.

    Attributes:
        gone: Classes of the first model alone.
        new: Classes of the second one alone.
        moved: Classes of both that are another output in the second.
    """

    gone: tuple[str, ...]
    new: tuple[str, ...]
    moved: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryDifference:
    """Differences between two histories, in words.

    Attributes:
        shared: Number of steps that both begin with.
        before: Further steps of the first model.
        after: Further steps of the second one.
    """

    shared: int
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeDifference:
    """Differences between two recipes.

    Attributes:
        fields: Fields with two values, metrics among them.
        classes: Differences between the classes; None where there are none, or names are not known.
        history: Differences between the histories; None where there are none.
    """

    fields: tuple[FieldDifference, ...]
    classes: ClassDifference | None
    history: HistoryDifference | None

    @property
    def differs(self) -> bool:
        """Whether there is any."""
        return bool(self.fields or self.classes or self.history)


def compare_recipes(before: Recipe, after: Recipe) -> RecipeDifference:
    """Compare two recipes field by field."""
    one, two = ({**recipe.model_dump(mode="json")} for recipe in (before, after))
    for values in (one, two):
        for field in APART:
            del values[field]
    return RecipeDifference(
        fields=(
            *differing("", one, two),
            *_operations(before.operations, after.operations),
            *_provenance(before, after),
            *_unknown_names(before, after),
        ),
        classes=_classes(before.class_names, after.class_names),
        history=_history(before.provenance.history, after.provenance.history),
    )


def differing(path: str, before: Any, after: Any) -> Iterator[FieldDifference]:
    """Yield the fields of two values that differ, those of mappings by their paths."""
    if before == after:
        return
    if not (isinstance(before, dict) and isinstance(after, dict)):
        yield FieldDifference(field=path, before=before, after=after)
        return
    for key in dict.fromkeys((*before, *after)):
        inner = f"{path}.{key}" if path else str(key)
        yield from differing(inner, before.get(key), after.get(key))


def _operations(
    before: Sequence[Operation], after: Sequence[Operation]
) -> Iterator[FieldDifference]:
    """Yield differences of operations, the same kinds held against each other in their order."""
    words = [[spec.operation for spec in specs] for specs in (before, after)]
    for tag, i, i_end, j, j_end in SequenceMatcher(a=words[0], b=words[1]).get_opcodes():
        if tag != "equal":
            for spec in before[i:i_end]:
                yield FieldDifference(field="operations", before=_in_words(spec), after=None)
            for spec in after[j:j_end]:
                yield FieldDifference(field="operations", before=None, after=_in_words(spec))
            continue
        for one, two in zip(before[i:i_end], after[j:j_end], strict=True):
            values = (spec.model_dump(mode="json") for spec in (one, two))
            yield from differing(f"operations.{one.operation}", *values)


def _in_words(spec: Operation) -> str:
    given = spec.model_dump(mode="json", exclude_defaults=True, exclude={"operation"})
    return " ".join([spec.operation, *(f"{name}={value}" for name, value in given.items())])


def _provenance(before: Recipe, after: Recipe) -> Iterator[FieldDifference]:
    found = [recipe.provenance.model_dump(mode="json") for recipe in (before, after)]
    for values in found:
        del values["steps"]
        metrics = values.pop("metrics")
        # Figures of other data are other figures.
        values["metrics"] = {f"{m['name']} on {m['data']}": m["value"] for m in metrics}
    yield from differing("", *found)


def _unknown_names(before: Recipe, after: Recipe) -> Iterator[FieldDifference]:
    known = [recipe.class_names is not None for recipe in (before, after)]
    if known[0] != known[1]:
        words = ("known" if one else "not known" for one in known)
        yield FieldDifference(field="class_names", before=next(words), after=next(words))


def _classes(
    before: tuple[str, ...] | None, after: tuple[str, ...] | None
) -> ClassDifference | None:
    if before == after or before is None or after is None:
        return None
    old, new = ({name: n for n, name in enumerate(names)} for names in (before, after))
    return ClassDifference(
        gone=tuple(name for name in before if name not in new),
        new=tuple(name for name in after if name not in old),
        moved=tuple(name for name in before if name in new and new[name] != old[name]),
    )


def _history(before: tuple[str, ...], after: tuple[str, ...]) -> HistoryDifference | None:
    if before == after:
        return None
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(before, after, strict=False))
    shared = sum(1 for _ in pairs)
    return HistoryDifference(shared=shared, before=before[shared:], after=after[shared:])
