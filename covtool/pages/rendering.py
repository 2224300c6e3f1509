"""A page as HTML, by the template beside this module."""

import base64
import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
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

_JOINT = re.compile(r"[_/-](?=.)")
_SHARE = re.compile(r"(\d) %")
_HERE = Path(__file__).parent
_TEMPLATE, _STYLE, _SCRIPT = "page.html", "page.css", "sort.js"


def require_jinja2() -> None:
    """Refuse to write a page without the package that it takes.

    Raises:
        ArgumentError: jinja2 is not installed.
    """
    if find_spec("jinja2") is None:
        raise ArgumentError(
            "Pages need jinja2, which is not installed.",
            hint="Install it: pip install 'covtool[report]'.",
        )


def rendered(page: Page) -> str:
    """Return a page as one self-contained HTML document.

    Raises:
        ArgumentError: jinja2 is not installed.
    """
    from markupsafe import Markup

    require_jinja2()
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


def _breakable(text: str) -> Any:
    """Let lines end behind the signs that join words in file names, not within a word."""
    from markupsafe import Markup, escape

    # Escaped here: Markup is shown as it is.
    joined = _SHARE.sub("\\g<1>\N{NO-BREAK SPACE}%", str(escape(escaped(text))))
    return Markup(_JOINT.sub(r"\g<0><wbr>", joined))


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
