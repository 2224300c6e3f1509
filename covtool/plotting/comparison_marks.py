"""Looks of compared rows: color and filling by head, shape by what the features are from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covtool.comparing.records import ComparedRow
from covtool.plotting.figure_file import as_label
from covtool.plotting.run_history import short_names
from covtool.plotting.run_panels import run_color
from covtool.variants import HEADS

_SHAPES = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "d", "p")
"""Shapes that can be told apart at the size of a letter; all can be filled."""
_COLORS = 7
_FILLINGS = ("full", "none", "bottom")
"""Of the heads after each seven: they repeat the colors."""
_LONGEST_PART = 32
"""Most characters of the name of a tap or checkpoint in a legend."""

Source = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """Styles of all rows.

    Attributes:
        heads: Style of each head, by its name, in the order of the table of heads.
        sources: Shape of each source, by its name; a single one where shapes tell nothing apart.
        sources_are: Name of what sources are: tap, checkpoint, ...; empty for a single one.
    """

    heads: dict[str, dict[str, Any]]
    sources: dict[Source, str]
    sources_are: str
    _source: Callable[[ComparedRow], Source]
    _names: dict[str, str]

    @classmethod
    def of(cls, rows: Sequence[ComparedRow]) -> "Marks":
        """Choose styles that tell the rows' heads apart, and as much of the rest as shapes can."""
        present = dict.fromkeys(row.head.head for row in rows)
        known = [name for name in HEADS.names if name in present]
        names = [*known, *(name for name in present if name not in known)]
        heads = {name: _head_style(position) for position, name in enumerate(names)}
        words, source = _choose_source(rows)
        found = dict.fromkeys(source(row) for row in rows)
        shapes = dict(zip(found, _SHAPES, strict=False))
        checkpoints = list(dict.fromkeys(row.checkpoint for row in rows))
        return cls(
            heads=heads,
            sources=shapes,
            sources_are=words,
            _source=source,
            _names=dict(zip(checkpoints, short_names(list(map(Path, checkpoints))), strict=True)),
        )

    def style(self, row: ComparedRow) -> dict[str, Any]:
        """Return the style of a row's point."""
        return {**self.heads[row.head.head], "marker": self.sources[self._source(row)]}

    def source_label(self, source: Source) -> str:
        """Return the name of a source for a legend; of paths, as much as tells them apart."""
        parts = (self._names.get(part, part) for part in source)
        return ", ".join(shortened(part, _LONGEST_PART) for part in parts)


def _head_style(position: int) -> dict[str, Any]:
    filling = _FILLINGS[position // _COLORS % len(_FILLINGS)]
    return {
        "color": run_color(position),
        "fillstyle": filling,
        "markerfacecoloralt": "white",
        "markeredgewidth": 0.6 if filling == "full" else 1.2,
    }


_PARTS = ("checkpoint", "tap", "size")
# What a point's shape can stand for, and up to how many shapes: the most telling first. The cost
# tells sizes apart as well, and checkpoints mostly.
_SOURCES: tuple[tuple[int, Callable[[ComparedRow], Source]], ...] = (
    (8, lambda row: (row.checkpoint, _taps(row), _size(row))),
    (len(_SHAPES), lambda row: (row.checkpoint, _taps(row), "")),
    (len(_SHAPES), lambda row: (row.checkpoint, "", "")),
    (len(_SHAPES), lambda row: ("", _taps(row), "")),
)
_ALL_ALIKE: tuple[str, Callable[[ComparedRow], Source]] = ("", lambda row: ("", "", ""))


def _choose_source(rows: Sequence[ComparedRow]) -> tuple[str, Callable[[ComparedRow], Source]]:
    """Return what shapes stand for, in words, and the function to it: as much as shapes suffice."""
    for most, source in _SOURCES:
        found = {source(row) for row in rows}
        varies = [len(set(part)) > 1 for part in zip(*found, strict=True)]
        if any(varies) and len(found) <= most:
            words = [word for word, kept in zip(_PARTS, varies, strict=True) if kept]
            return ", ".join(words), _only(source, varies)
    return _ALL_ALIKE


def _only(
    source: Callable[[ComparedRow], Source], varies: Sequence[bool]
) -> Callable[[ComparedRow], Source]:
    """Return the source without the parts that are the same in all rows."""
    return lambda row: tuple(part for part, kept in zip(source(row), varies, strict=True) if kept)


def _taps(row: ComparedRow) -> str:
    return " + ".join(row.taps)


def _size(row: ComparedRow) -> str:
    height, width = row.img_size
    return f"{height} px" if height == width else f"{height}x{width} px"


def shortened(text: str, longest: int) -> str:
    """Return text fit for a figure, the middle left out where it is too long.

    Example:
        >>> shortened("blocks.6.0.conv_pwl", 11)
        'block...pwl'
    """
    shown = as_label(text)
    if len(shown) <= longest:
        return shown
    behind = (longest - 3) // 2 - 1
    return f"{shown[: longest - 3 - behind]}...{shown[-behind:]}"
