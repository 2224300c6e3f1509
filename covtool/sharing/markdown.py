"""Text of a model's file as Markdown and YAML that it cannot break out of."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from covtool.printable import printable

_TICKS = re.compile("`+")


def code(text: str, *, longest: int = 200) -> str:
    r"""Return text as inline code, in which neither Markdown nor HTML means anything.

    Args:
        text: Any text; what is not printable is escaped, ends of lines among it.
        longest: Characters that are shown.

    Example:
        >>> print(code("<b>"), code("a`b"))
        `<b>` ``a`b``
    """
    shown = printable(text, longest=longest)
    fence = "`" * (max(map(len, _TICKS.findall(shown)), default=0) + 1)
    # A space is taken off at each end again; without one a backtick would lengthen the fence.
    is_bare = shown and not shown.startswith(("`", " ")) and not shown.endswith(("`", " "))
    return f"{fence}{shown}{fence}" if is_bare else f"{fence} {shown or ' '} {fence}"


def front_matter(values: Mapping[str, Any]) -> str:
    """Return values as the YAML at the head of a model card, between its marks."""
    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=False, width=1_000_000)
    return f"---\n{text}---\n"
