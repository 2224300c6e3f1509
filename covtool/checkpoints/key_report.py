"""Differences between two sets of named shapes, grouped so that a person can read them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from covtool.printable import printable

Shape = tuple[int, ...]

MAX_LINES = 6
_LONGEST_GROUP = 400  # characters; a layer's own names and numbers have fewer
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)|(?<=[a-z])\d+(?=\.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """What differs between the tensors that are expected and those that are there.

    Attributes:
        missing: Expected, not there.
        unexpected: There, not expected.
        other_shape: In both with different shapes: name to (expected, found).
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    other_shape: Mapping[str, tuple[Shape, Shape]]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.other_shape)

    def __str__(self) -> str:
        return "\n".join(self.lines()) or "no difference"

    def lines(self) -> list[str]:
        """Return a line for each group, with how many tensors are in it."""
        parts = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("other shape", tuple(self.other_shape)),
        )
        lines = [
            f"  {kind}: {group} ({count})" if count > 1 else f"  {kind}: {group}"
            for kind, names in parts
            for group, count in group_keys(names)
        ]
        # Other shapes are the last kind, so that the only one has the last line.
        if len(self.other_shape) == 1:
            expected, found = next(iter(self.other_shape.values()))
            lines[-1] += f" {list(found)}, not {list(expected)}"
        return lines


def compare_keys(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> KeyReport:
    """Compare names and shapes."""
    common = [name for name in expected if name in found]
    return KeyReport(
        missing=tuple(name for name in expected if name not in found),
        unexpected=tuple(name for name in found if name not in expected),
        other_shape={
            name: (tuple(expected[name]), tuple(found[name]))
            for name in common
            if tuple(expected[name]) != tuple(found[name])
        },
    )


def group_keys(names: Iterable[str], *, max_groups: int = MAX_LINES) -> list[tuple[str, int]]:
    """Return names in at most `max_groups` groups, each with its size.

    Example:
        >>> group_keys(["layer1.0.weight", "layer1.0.bias", "layer1.1.weight", "layer1.1.bias"])
        [('layer1.[0-1].{weight,bias}', 4)]
    """
    names = list(names)
    if not names:
        return []
    # From the finest groups on: the first that are few enough say most.
    depth = max(name.count(".") for name in names)
    groups = next(
        (g for kept in range(depth, 0, -1) if (g := _grouped(names, kept, max_groups))), None
    )
    if groups is None:
        groups = _grouped(names, 0, len(names))
    if len(groups) > max_groups:
        rest = sum(len(group) for group in groups[max_groups - 1 :])
        return [*map(_written, groups[: max_groups - 1]), ("...", rest)]
    return [_written(group) for group in groups]


_Group = list[tuple[str, str]]  # module and leaf of each name


def _grouped(names: list[str], kept: int, most: int) -> list[_Group]:
    """Group names by their first `kept` parts, all numbers alike; none if too many result."""
    members: dict[tuple[str, ...], _Group] = {}
    for name in names:
        parts = name.split(".")
        module, leaf = ".".join(parts[:-1]), parts[-1]
        if len(parts) - 1 > kept:
            module, leaf = ".".join(parts[:kept]) if kept else parts[0], "*"
        members.setdefault(tuple(_NUMBER.split(f"{module}.")), []).append((module, leaf))
        # A file may have a hundred thousand names, and each depth looks at all of them.
        if len(members) > most:
            return []
    return list(members.values())


def _written(group: _Group) -> tuple[str, int]:
    fixed = _NUMBER.split(f"{group[0][0]}.")
    numbers = zip(*(map(int, _NUMBER.findall(f"{module}.")) for module, _ in group), strict=True)
    ranges = (_range(sorted(set(values))) for values in numbers)
    text = "".join(f"{part}{next(ranges, '')}" for part in fixed).removeprefix(".")
    leaves = list(dict.fromkeys(leaf for _, leaf in group))
    if "*" in leaves:
        text += "*"
    else:
        text += leaves[0] if len(leaves) == 1 else f"{{{','.join(leaves)}}}"
    return printable(text, longest=_LONGEST_GROUP), len(group)


def _range(values: list[int]) -> str:
    if len(values) == 1:
        return str(values[0])
    if values == list(range(values[0], values[-1] + 1)):
        return f"[{values[0]}-{values[-1]}]"
    return f"{{{','.join(map(str, values))}}}"
