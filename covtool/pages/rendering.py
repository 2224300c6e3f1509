"""A page as HTML, by the template beside this module."""

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covtool.errors import ArgumentError
from covtool.pages.csv_rows import Cell
from covtool.pages.inline_svg import inline_svg
from covtool.pages.records import Block, Column, Figure, Page
from covtool.printable import escaped, printable

if TYPE_CHECKING:
    from jinja2 import Environment

GENERATOR = '<meta name="generator" content="covtool">'
"""By which a page that covtool wrote is known."""

_JOINT = re.compile(r"(?<!-)[_/-](?=[^-\s])")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
_LEFTWARD = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010fff\U0001e800-\U0001efff"
_LEFTWARD_WORDS = re.compile(f"[{_LEFTWARD}]+(?:(?:[ _-]|<wbr>)*[{_LEFTWARD}]+)*")
"""Hebrew, Arabic and the like: numbers and signs beside them would change places with them."""
_SHARE = re.compile(r"(\d) %")
_HERE = Path(__file__).parent
_TEMPLATE, _STYLE, _SCRIPT = "page.html", "page.css", "sort.js"


PACKAGES = ("jinja2", "matplotlib", "scipy")
"""What pages are written and drawn with, and their classes ordered."""


def missing_packages() -> list[str]:
    """Return the packages that pages take and that are not installed."""
    return [package for package in PACKAGES if find_spec(package) is None]


def require_packages() -> None:
    """Refuse to write a page without the packages that it takes.

    Raises:
        ArgumentError: One of `PACKAGES` is not installed.
    """
    if missing := missing_packages():
        names = " and ".join(missing)
        raise ArgumentError(
            f"Pages need {names}, which {'is' if len(missing) == 1 else 'are'} not installed.",
            hint="Install what pages need: pip install 'covtool[report]'.",
        )


def rendered(page: Page) -> str:
    """Return a page as one self-contained HTML document.

    Raises:
        ArgumentError: A package is not installed; see `require_packages`.
    """
    from markupsafe import Markup

    require_packages()
    script = (_HERE / _SCRIPT).read_text(encoding="utf-8")
    return (
        _environment()
        .get_template(_TEMPLATE)
        .render(
            page=page,
            generator=Markup(GENERATOR),
            style=Markup((_HERE / _STYLE).read_text(encoding="utf-8")),
            script=Markup(script),
            script_hash=_hash_of(script),
        )
    )


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        finalize=_without_control_characters,
        loader=FileSystemLoader(_HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "kind": _kind,
        "drawing": _drawing,
        "short": printable,
        "breakable": _breakable,
        "lines": _lines,
        "shown": _shown,
        "is_right": _is_right,
        "sort_key": _sort_key,
    }
    return environment


def _without_control_characters(value: Any) -> Any:
    """Escape what is not visible in every text that a template shows."""
    return escaped(value) if type(value) is str else value  # Markup is ours already


def _hash_of(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _kind(block: Block) -> str:
    return type(block).__name__


def _drawing(figure: Figure) -> Any:
    from markupsafe import Markup

    return Markup(inline_svg(figure.svg, figure.name, escaped(figure.title)))


def _breakable(text: Cell) -> Any:
    """Let lines end behind the signs that join words in file names, not within a word or option."""
    from markupsafe import Markup, escape

    if not isinstance(text, str):
        return text
    # Escaped here: Markup is shown as it is.
    joined = _SHARE.sub("\\g<1>\N{NO-BREAK SPACE}%", str(escape(escaped(text))))
    parts, options = _OPTION.split(joined), _OPTION.findall(joined)
    broken = (_JOINT.sub(r"\g<0><wbr>", part) for part in parts)
    shown = [_LEFTWARD_WORDS.sub(r"<bdi>\g<0></bdi>", part) for part in broken]
    kept = [f'<span class="option">{option}</span>' for option in options]
    return Markup("".join(chain.from_iterable(zip_longest(shown, kept, fillvalue=""))))


def _lines(text: str) -> Sequence[str]:
    return text.split("\n")


def _shown(cell: Cell, column: Column) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return printable(cell)
    return format(cell, column.format or ("," if isinstance(cell, int) else ".4g"))


def _is_right(column: Column) -> bool:
    return column.is_number or bool(column.format)


def _sort_key(cell: Cell, column: Column) -> str | None:
    """Return the number to sort by; None where the text itself is sorted by."""
    is_number = _is_right(column) and isinstance(cell, int | float)
    return repr(float(cell)) if is_number and cell is not None else None
