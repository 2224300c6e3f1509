"""Differences between two sets of named shapes, grouped so that a person can read them."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Shape = tuple[int, ...]

MAX_LINES = 6
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
        """A line for each group, with how many tensors are in it."""
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
    """Names in at most `max_groups` groups, each with its size.

    Example:
        >>> group_keys(["layer1.0.weight", "layer1.0.bias", "layer1.1.weight", "layer1.1.bias"])
        [('layer1.[0-1].{weight,bias}', 4)]
    """
    names = list(names)
    if not names:
        return []
    depth = max(name.count(".") for name in names)
    for kept in range(depth, -1, -1):
        groups = _grouped(names, kept)
        if len(groups) <= max_groups:
            return groups
    rest = sum(count for _, count in groups[max_groups - 1 :])
    return [*groups[: max_groups - 1], ("...", rest)]


def _grouped(names: list[str], kept: int) -> list[tuple[str, int]]:
    """Group names by their first `kept` parts, with all numbers alike."""
    members: dict[str, list[tuple[str, str]]] = {}
    for name in names:
        parts = name.split(".")
        module, leaf = ".".join(parts[:-1]), parts[-1]
        if len(parts) - 1 > kept:
            module, leaf = ".".join(parts[:kept]) if kept else parts[0], "*"
        members.setdefault(_NUMBER.sub("#", f"{module}."), []).append((module, leaf))
    return [_written(template, group) for template, group in members.items()]


def _written(template: str, group: list[tuple[str, str]]) -> tuple[str, int]:
    numbers = zip(*(map(int, _NUMBER.findall(f"{module}.")) for module, _ in group), strict=True)
    for values in numbers:
        template = template.replace("#", _range(sorted(set(values))), 1)
    leaves = list(dict.fromkeys(leaf for _, leaf in group))
    text = "*" if "*" in leaves else leaves[0] if len(leaves) == 1 else f"{{{','.join(leaves)}}}"
    return f"{template.removeprefix('.')}{text}", len(group)


def _range(values: list[int]) -> str:
    if len(values) == 1:
        return str(values[0])
    if values == list(range(values[0], values[-1] + 1)):
        return f"[{values[0]}-{values[-1]}]"
    return f"{{{','.join(map(str, values))}}}"
