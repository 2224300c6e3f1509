"""Options of a `LayoutSpec` that a layout takes; the others are refused."""

from collections.abc import Collection, Sequence
from pathlib import Path

from covtool.errors import ArgumentError
from covtool.specs.layout import LayoutSpec
from covtool.specs.record import as_flag


def refuse_options(choice: LayoutSpec, taken: Collection[str], root: Path) -> None:
    """Refuse options that a data set does not take.

    Args:
        choice: Options that were given.
        taken: Options that the layout takes.
        root: The data set.

    Raises:
        ArgumentError: One of them is not taken.
    """
    for name in choice.given():
        if name not in taken:
            known = ", ".join(as_flag(field) for field in taken)
            raise ArgumentError(
                f"{as_flag(name)} does not apply to {root}.",
                reason=f"Its layout takes {known}." if known else "Its layout takes no option.",
                hint="covtool list data shows which layouts take it.",
            )


def chosen_labels(choice: LayoutSpec, known: Sequence[str], root: Path) -> str:
    """Return the labels that were asked for; by default the first.

    Raises:
        ArgumentError: There are no such labels.
    """
    name = choice.labels or known[0]
    if name not in known:
        raise ArgumentError(
            f"{root} has no labels {name!r}.", hint=f"--labels takes {', '.join(known)}."
        )
    return name


def chosen_split(choice: LayoutSpec, count: int, root: Path) -> int:
    """Return the number of the split that was asked for, 1 to `count`; by default 1.

    Raises:
        ArgumentError: There is none of that number.
    """
    number = choice.data_split or 1  # the split that papers report, if only one
    if number > count:
        raise ArgumentError(f"{root} has no split {number}.", hint=f"--data-split 1 to {count}.")
    return number
