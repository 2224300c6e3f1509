"""What of a comparison a picture shows: costs, fronts, and the rows that are named."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from covtool.comparing.choosing import pareto_front
from covtool.comparing.records import ComparedRow
from covtool.errors import DataError

MOST_INTERVALS = 24
"""Rows up to which each shows its interval: more would hide the points."""


@dataclass(frozen=True, slots=True)
class CostAxis:
    """A cost, on the horizontal axis of a panel.

    Attributes:
        name: Its unit.
        summary: Name of the axis.
        known: Function of a row that gives the cost; None or not a number where it is not known.
    """

    name: str
    summary: str
    known: Callable[[ComparedRow], float | None]

    def cost(self, row: ComparedRow) -> float:
        """Return the cost of a row, NaN where it is not known."""
        found = self.known(row)
        return math.nan if found is None else float(found)


COSTS = (
    CostAxis("GFLOPs", "GFLOPs of an image", attrgetter("gflops")),
    CostAxis("ms", "ms an image, measured", attrgetter("ms_per_image")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnRows:
    """What of the rows is drawn; a place is the number of a row, from 1 on.

    Attributes:
        rows: All rows, the best first.
        places: Places in each panel, ascending.
        fronts: Places on each panel's front, cheapest first.
        numbered: Places that are numbered: the best, the recommended one, those of the fronts.
        with_interval: Places that show their interval.
        notes: Sentences on rows that a panel lacks.
    """

    rows: tuple[ComparedRow, ...]
    places: dict[CostAxis, list[int]]
    fronts: dict[CostAxis, list[int]]
    numbered: list[int]
    with_interval: frozenset[int]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, rows: Sequence[ComparedRow]) -> "DrawnRows":
        """Find out what can be drawn.

        Raises:
            DataError: Nothing can: no row has a figure and a cost.
        """
        every = {axis: _drawable(rows, axis) for axis in COSTS}
        places = {axis: found for axis, found in every.items() if found}
        if not places:
            raise DataError("No row of the comparison has a figure and a cost: nothing to draw.")
        fronts = {axis: _front(rows, found, axis) for axis, found in places.items()}
        seen = {place for found in places.values() for place in found}
        chosen = {place for place in seen if rows[place - 1].recommended}
        numbered = {min(seen), *chosen}.union(*fronts.values())
        notes = (_note(axis, len(rows) - len(found)) for axis, found in every.items())
        return cls(
            rows=tuple(rows),
            places=places,
            fronts=fronts,
            numbered=sorted(numbered),
            with_interval=frozenset(
                place
                for place in (seen if len(rows) <= MOST_INTERVALS else numbered)
                if rows[place - 1].has_interval
            ),
            notes=tuple(note for note in notes if note),
        )

    def row(self, place: int) -> ComparedRow:
        """Return the row at a place."""
        return self.rows[place - 1]


def _front(rows: Sequence[ComparedRow], places: Sequence[int], axis: CostAxis) -> list[int]:
    """Return those of the places that are on the front of a panel, cheapest first."""
    competing = [rows[place - 1] for place in places]
    figures, costs = [row.figure for row in competing], [axis.cost(row) for row in competing]
    return [places[number] for number in pareto_front(figures, costs)]


def _drawable(rows: Sequence[ComparedRow], axis: CostAxis) -> list[int]:
    return [
        place
        for place, row in enumerate(rows, start=1)
        if math.isfinite(row.figure) and 0 < axis.cost(row) < math.inf
    ]


def _note(axis: CostAxis, missing: int) -> str:
    rows = "1 row has" if missing == 1 else f"{missing} rows have"
    return f"{rows} no figure or no {axis.name} and cannot be drawn." if missing else ""
