"""Results, progress and errors as text. The only module that knows rich.

Results go to stdout, everything else to stderr. With ``--json`` one object goes to stdout.

What is shown may come from a file: here it is made printable and cut to a length, whatever was done
about it before, and nothing in it is taken for rich's markup.
"""

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

import yaml
from pydantic import BaseModel
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from covtool.errors import CovtoolError
from covtool.printable import escaped, printable
from covtool_cli import launching
from covtool_cli.streams import encodable
from covtool_cli.table_layout import widths

SECONDS_BETWEEN_LINES = 5.0

LONGEST_CELL = 2_000
"""Characters in a cell of a table, in a title or in a progress bar's description."""

LONGEST_LINE = 10_000
"""Characters of a line."""


class Lines(tuple[str, ...]):
    """A cell of a table with a line for each item."""


def stdout() -> Console:
    """Return the console for results; in a pipe it is wide, so that nothing is cut off."""
    quiet = not launching.is_main()
    console = Console(highlight=False, quiet=quiet)
    # rich assumes 80 columns where there is no terminal, and folds tables to them.
    return console if console.is_terminal else Console(highlight=False, width=200, quiet=quiet)


def stderr() -> Console:
    """Return the console for everything that is not a result."""
    return Console(stderr=True, highlight=False, quiet=not launching.is_main())


def plain(value: Any) -> Any:
    """Return a value in JSON's types: records and dataclasses become objects."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    # Paths and all else that JSON does not know become text.
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def json_object(value: Any) -> None:
    """Write one JSON object to stdout; null stands for numbers that are not finite."""
    # ASCII: any terminal, pipe and encoding passes it on unchanged
    _exactly(_json_text(_finite(plain(value))))


def _json_text(value: Any, indent: str = "") -> str:
    """Return JSON that is indented, a list of numbers or of names in one line."""
    inner = indent + "  "
    is_list = isinstance(value, list)
    if value and (isinstance(value, dict) or (is_list and isinstance(value[0], dict | list))):
        rows = (
            [_json_text(item, inner) for item in value]
            if is_list
            else [f"{json.dumps(key)}: {_json_text(item, inner)}" for key, item in value.items()]
        )
        opening, closing = "[]" if is_list else "{}"
        body = f",\n{inner}".join(rows)
        return f"{opening}\n{inner}{body}\n{indent}{closing}"
    return json.dumps(value, allow_nan=False)


def _finite(value: Any) -> Any:
    """Return plain values without NaN and Infinity: JSON has no words for them."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def yaml_text(value: Any) -> None:
    """Write a record to stdout as YAML that can be edited and read again."""
    text = yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=_stdout_has_unicode())
    if escaped(text, keep="\n") != text:  # YAML has escapes of its own for all but ASCII
        text = yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=False)
    _exactly(text)


def _exactly(text: str) -> None:
    """Write text to stdout as it is, whatever the width."""
    if launching.is_main():
        print(text)  # noqa: T201


def exact_text(text: str) -> None:
    """Write text to stdout whatever the width, with characters escaped that are not printable."""
    if launching.is_main():
        print(escaped(text, keep="\n"), end="")  # noqa: T201


def _stdout_has_unicode() -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return encoding.lower().startswith("utf")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Show a table on stdout; columns of numbers are aligned to the right.

    No word and no number is broken: a table that is too wide for the terminal becomes a list, with
    a line for each cell.
    """
    titles, cells, numeric, found = _laid_out(columns, rows)
    if found is None:
        _show(title, _as_list(titles, cells))
        return
    drawn = Table()
    for name, is_number, width in zip(titles, numeric, found, strict=True):
        justify = "right" if is_number else "left"
        drawn.add_column(Text(name), justify=justify, overflow="fold", width=width)
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    _show(title, drawn)


def fits(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bool:
    """Return whether a table is narrow enough for the terminal, with no word and no number broken.

    One that is not is shown as a list.
    """
    return _laid_out(columns, rows)[-1] is not None


def _laid_out(
    columns: Sequence[str], rows: Iterable[Sequence[object]]
) -> tuple[list[str], list[list[str]], list[bool], list[int] | None]:
    """Return titles, cells, whether each column has numbers only, and the columns' widths."""
    titles = [_cell(column) for column in columns]
    cells = [[_cell(cell) for cell in row] for row in rows]
    numeric = [
        bool(cells) and all(_is_numeric(row[index]) for row in cells)
        for index in range(len(columns))
    ]
    return titles, cells, numeric, widths(titles, cells, stdout().width, numeric=numeric)


def _as_list(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Return rows as a name and a value in a line each, with a rule between two rows."""
    drawn = Table(show_header=False)
    drawn.add_column(style="cyan", no_wrap=True)
    drawn.add_column(overflow="fold")
    for row in rows:
        for title, cell in zip(titles, row, strict=True):
            drawn.add_row(Text(title), Text(cell))
        drawn.add_section()
    return drawn


def pairs(title: str, items: Iterable[tuple[str, object]]) -> None:
    """Show names and values on stdout, below a title."""
    drawn = Table(show_header=False, box=None)
    drawn.add_column(style="cyan", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in items:
        drawn.add_row(Text(_cell(name)), Text(_cell(value)))
    _show(title, drawn)


def _show(title: str, drawn: Table) -> None:
    if title:  # not the table's own title, which would break its words at a narrow table's width
        stdout().print(Text(_cell(title), style="bold"))
    stdout().print(drawn)


def _cell(value: object) -> str:
    if isinstance(value, Lines):
        return "\n".join(map(_cell, value))
    shown = printable(number(value), longest=LONGEST_CELL)
    return encodable(
        shown, getattr(sys.stdout, "encoding", None) or "utf-8"
    )  # rich measures what is printed


def counted(count: int, word: str, plural: str | None = None) -> str:
    """Return a number of things: 1 image, 1,200 images."""
    return f"{count:,} {word if count == 1 else plural or word + 's'}"


def marked(title: str, *, far: bool) -> str:
    """Return a title of figures, marked where the images are far from those the file is for."""
    return f"{title}, FAR FROM THE IMAGES THAT THE FILE WAS MADE FOR" if far else title


def number(value: object) -> str:
    """Return a value for reading: thousands separated, floats with four significant digits."""
    if value is None:
        return "-"
    if isinstance(value, bool):  # before int, of which bool is a subclass
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"
    return str(value)


def line(text: str) -> None:
    """Show a line of a result on stdout."""
    stdout().print(_line(text), soft_wrap=True)


def note(text: str) -> None:
    """Show a note on stderr."""
    stderr().print(_line(text), soft_wrap=True)


def warning(text: str) -> None:
    """Show a warning on stderr."""
    label = Text("warning: ", style="bold yellow")
    stderr().print(label.append(_line(text).plain, style="not bold default"), soft_wrap=True)


def error(problem: CovtoolError) -> None:
    """Show an error on stderr: what is wrong, why, what to do, a line each."""
    console = Console(
        stderr=True, highlight=False
    )  # not `stderr()`: any process may show its error
    label = Text("error: ", style="bold red")
    message = _line(problem.message).plain
    console.print(label.append(message, style="not bold default"), soft_wrap=True)
    # Hints of several lines are commands to copy, a line each.
    for part in (problem.reason, *(problem.hint or "").split("\n")):
        if part:
            console.print(_line(part), soft_wrap=True)


def _line(text: str) -> Text:
    return Text(printable(text, longest=LONGEST_LINE))


def track(iterable: Iterable[Any], description: str, total: int | None) -> Iterator[Any]:
    """Yield a `covtool.progress.Track`: a bar on a terminal, a line now and then elsewhere."""
    console, description = stderr(), printable(description)
    if not console.is_terminal:
        yield from _track_by_lines(iterable, description, total)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    # Transient: a finished bar goes, and stderr keeps lines only.
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(iterable, total=total, description=description)


def _track_by_lines(iterable: Iterable[Any], description: str, total: int | None) -> Iterator[Any]:
    of_total = "" if total is None else f"/{total}"
    last = time.monotonic()
    for count, item in enumerate(iterable, start=1):
        yield item
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            note(f"{description} {count}{of_total}")


def _is_numeric(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").replace(".", "").lstrip("~-").isdigit()
