"""`~` in values of options: a shell does not expand it after ``=``, so covtool does."""

import re
from pathlib import Path
from typing import Any

from typer import CallbackParam

SHORT_WITH_EQUALS = re.compile(r"(-[A-Za-z])=(.*)", re.DOTALL)
# Data sets in records have a prefix before the folder.
RECORDS = re.compile(r"((?:wds|hfds)/)?(~.*)", re.DOTALL)


def expand_in(parameter: CallbackParam) -> None:
    """Let a parameter take ``~`` for the home folder, wherever its value comes from."""
    # the only place where typer joins flags, variables and default maps, so `~` works in all three
    consume = parameter.consume_value

    def consume_expanded(*where: Any) -> tuple[Any, Any]:
        value, source = consume(*where)
        return expanded(value), source

    parameter.consume_value = consume_expanded


def expanded(value: Any) -> Any:
    """Return a value with the home folder for ``~``, also in ``wds/~/shards``; else as it is.

    Args:
        value: Text, or several; other values stay.

    Example:
        >>> expanded("resnet50"), expanded("a~b")
        ('resnet50', 'a~b')
    """
    if isinstance(value, list | tuple):
        return type(value)(map(expanded, value))
    match = RECORDS.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    try:
        return (match[1] or "") + str(Path(match[2]).expanduser())
    except RuntimeError:  # there is no user of that name
        return value


def without_equals(arguments: list[str]) -> list[str]:
    """Return the arguments with ``-o=net`` as ``-onet``; typer would take ``=net`` for the value.

    Example:
        >>> without_equals(["-o=net", "--data=x", "--", "-o=net"])
        ['-onet', '--data=x', '--', '-o=net']
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    short = (SHORT_WITH_EQUALS.fullmatch(argument) for argument in arguments[:end])
    pairs = zip(arguments, short, strict=False)
    return [m[1] + m[2] if m else argument for argument, m in pairs] + arguments[end:]
