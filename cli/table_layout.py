"""Widths of a table's columns at which no word and no number is broken."""

from collections.abc import Sequence

from rich.cells import cell_len

BORDER = 3
"""Columns of the terminal for the borders of one column; the last has one more."""


def widths(
    columns: Sequence[str], rows: Sequence[Sequence[str]], room: int, *, numeric: Sequence[bool]
) -> list[int] | None:
    """Return the widths of the columns, or None where the whole words are too wide for the room.

    Args:
        columns: Titles, which break between words.
        rows: Cells; text breaks between words, a number nowhere.
        room: Columns of the terminal.
        numeric: Whether a column has numbers only.
    """
    by_column = [[row[index] for row in rows] for index in range(len(columns))]
    least = [
        max(_longest_word(title), *(map(cell_len if whole else _longest_word, cells)), 1)
        for title, cells, whole in zip(columns, by_column, numeric, strict=True)
    ]
    most = [
        max(map(_longest_line, (title, *cells)))
        for title, cells in zip(columns, by_column, strict=True)
    ]
    most = [max(pair) for pair in zip(least, most, strict=True)]
    left = room - BORDER * len(columns) - 1 - sum(least)
    if left < 0:
        return None
    found = list(least)
    while left and found != most:
        # The narrowest of those that need more first: long text takes what is left.
        index = min(
            (i for i in range(len(found)) if found[i] < most[i]), key=lambda i: (most[i], i)
        )
        given = min(left, most[index] - found[index])
        found[index] += given
        left -= given
    return found


def _longest_word(text: str) -> int:
    return max(map(cell_len, text.split()), default=0)


def _longest_line(text: str) -> int:
    return max(map(cell_len, text.split("\n")), default=0)
