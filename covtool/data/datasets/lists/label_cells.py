"""Labels in the cells of a list: one class each, numbers without decimals."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from covtool.errors import DataError
from covtool.printable import printable

_SEPARATOR = re.compile(r"\s*[;|]\s*")
_LIST = re.compile(r"[\[({].*,.*[\])}]")
_WHOLE = re.compile(r"([+-]?\d+)(\.0*)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def one_class_each(file: Path, cells: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return the class of each cell of a column of labels.

    Numbers with decimals (``3.0``) become those without: pandas writes a column of whole numbers
    so, if a single cell of it was empty.

    Args:
        file: The list.
        cells: Cells of the column, one for each image.

    Returns:
        The classes in the order of `cells`; notes.

    Raises:
        DataError: Cells hold several classes (``cat;dog``), or numbers that measure something.
    """
    different = set(cells)
    several = {cell for cell in different if _holds_several(cell, different)}
    if several:
        count = sum(cell in several for cell in cells)
        raise DataError(
            f"{count:,} of {len(cells):,} images of {file} {'have' if count > 1 else 'has'} "
            "several labels.",
            reason=f"For example {printable(min(several))!r}, where each image has one class.",
            hint="Keep the rows with one label; or write combinations that are classes of their "
            "own as one, like cat+dog.",
        )
    # Only if all are whole numbers: beside 3.5, a 3.0 keeps its decimals.
    if all(_WHOLE.fullmatch(cell) for cell in different):
        decimal = printable(min((cell for cell in different if "." in cell), default=""))
        read = f"labels like {decimal!r} are read as {_without_decimals(decimal)!r}"
        notes = (f"{file.name}: {read}.",) if decimal else ()
        return [_without_decimals(cell) for cell in cells], notes
    # Many values are ratings or weights; a few, like 0.5 and 1.5, are classes.
    if all(_NUMBER.fullmatch(cell) for cell in different) and 2 * len(different) > len(cells):
        raise DataError(
            f"The labels of {file} are numbers with fractions, {len(different):,} of them for "
            f"{len(cells):,} images.",
            reason="Such numbers are measurements, not classes.",
            hint="Make classes of them, for example by ranges.",
        )
    return list(cells), _on_combinations(file, cells, different)


def _without_decimals(cell: str) -> str:
    return cell.partition(".")[0] if "." in cell else cell


def _holds_several(cell: str, different: set[str]) -> bool:
    if _LIST.fullmatch(cell):
        return True
    parts = [part for part in _SEPARATOR.split(cell) if part]
    if len(parts) > 1:  # a class may be "salt;pepper", unless its parts occur in other labels
        others = Counter(p for other in different for p in set(_SEPARATOR.split(other)))
        return any(others[part] > 1 for part in parts)
    # "Schnauzer, giant" has a comma as well: every part must be a label of another image.
    parts = [part.strip() for part in cell.split(",")]
    return len(parts) > 1 and all(part in different for part in parts)


def _on_combinations(file: Path, cells: Sequence[str], different: set[str]) -> tuple[str, ...]:
    """Return a note on labels whose words are labels themselves: several labels, or a name."""
    found = {c for c in different if len(c.split()) > 1 and all(w in different for w in c.split())}
    if not found:
        return ()
    return (
        f"{file.name}: labels made of other labels ({len(found)} of {len(different)}, like "
        f"{printable(min(found))!r}) are taken as classes of their own.",
    )
