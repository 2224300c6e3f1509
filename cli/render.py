"""Results, progress and errors as text. The only module that knows rich.

Results go to stdout, everything else to stderr. With ``--json`` one object goes to stdout.
"""

import json
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
from covtool.printable import printable
from covtool_cli import launching

SECONDS_BETWEEN_LINES = 5.0
_LONGEST_TEXT = 1000  # of a record: characters


def stdout() -> Console:
    """Where results go. Wide enough for a pipe, where nothing may be cut off."""
    quiet = not launching.is_main()
    console = Console(highlight=False, quiet=quiet)
    return console if console.is_terminal else Console(highlight=False, width=200, quiet=quiet)


def stderr() -> Console:
    """Where everything else goes."""
    return Console(stderr=True, highlight=False, quiet=not launching.is_main())


def plain(value: Any) -> Any:
    """`value` as what JSON knows: records and dataclasses become objects."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def json_object(value: Any) -> None:
    """One JSON object on stdout."""
    _exactly(json.dumps(plain(value), indent=2))


def yaml_text(value: Any) -> None:
    """A record on stdout, as YAML that can be edited and read again."""
    unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    _exactly(yaml.safe_dump(_printable(plain(value)), sort_keys=False, allow_unicode=unicode))


def _printable(value: Any) -> Any:
    """A value of plain ones, the texts in it fit for a terminal."""
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_printable(item) for item in value]
    return printable(value, longest=_LONGEST_TEXT) if isinstance(value, str) else value


def _exactly(text: str) -> None:
    """Text on stdout as it is, whatever the width."""
    if launching.is_main():
        print(text)  # noqa: T201


def exact_text(text: str) -> None:
    """Text on stdout as it is, whatever the width."""
    print(text, end="")  # noqa: T201


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; columns of numbers are aligned to the right."""
    cells = [[number(cell) for cell in row] for row in rows]
    drawn = Table(title=title, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        numeric = bool(cells) and all(_is_numeric(row[index]) for row in cells)
        drawn.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    stdout().print(drawn)


def pairs(title: str, items: Iterable[tuple[str, object]]) -> None:
    """Names and values on stdout, below a title."""
    drawn = Table(
        title=title, title_justify="left", title_style="bold", show_header=False, box=None
    )
    drawn.add_column(style="cyan", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in items:
        drawn.add_row(name, Text(number(value)))
    stdout().print(drawn)


def counted(count: int, word: str, plural: str | None = None) -> str:
    """A number of things: 1 image, 1,200 images."""
    return f"{count:,} {word if count == 1 else plural or word + 's'}"


def marked(title: str, *, far: bool) -> str:
    """A title of figures; with a mark where the images are far from what the file was made for."""
    return f"{title}, FAR FROM THE IMAGES THAT THE FILE WAS MADE FOR" if far else title


def number(value: object) -> str:
    """`value` for a person: thousands separated, floats with four digits that count."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 100 else f"{value:.4g}"
    return str(value)


def line(text: str) -> None:
    """A line of a result, on stdout."""
    stdout().print(Text(text), soft_wrap=True)


def note(text: str) -> None:
    """Something worth knowing, on stderr."""
    stderr().print(Text(text), soft_wrap=True)


def warning(text: str) -> None:
    """Something that may be wrong, on stderr."""
    label = Text("warning: ", style="bold yellow")
    stderr().print(label.append(text, style="not bold default"), soft_wrap=True)


def error(problem: CovtoolError) -> None:
    """An error on stderr: what is wrong, why, what to do, a line each."""
    console = Console(stderr=True, highlight=False)  # whichever process tells it
    label = Text("error: ", style="bold red")
    console.print(label.append(problem.message, style="not bold default"), soft_wrap=True)
    for part in (problem.reason, problem.hint):
        if part:
            console.print(Text(part), soft_wrap=True)


def track(iterable: Iterable[Any], description: str, total: int | None) -> Iterator[Any]:
    """A `covtool.progress.Track`: a bar on a terminal, a line now and then elsewhere."""
    console = stderr()
    if not console.is_terminal:
        yield from _track_by_lines(iterable, description, total)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
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
    return cell == "-" or cell.replace(",", "").replace(".", "").lstrip("-").isdigit()
