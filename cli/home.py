"""`~` in values: a shell leaves it alone behind ``=``, and nobody else reads it."""

import re
from pathlib import Path
from typing import Any

from typer import CallbackParam

SHORT_WITH_EQUALS = re.compile(r"(-[A-Za-z])=(.*)", re.DOTALL)
RECORDS = re.compile(r"((?:wds|hfds)/)?(~.*)", re.DOTALL)


def expand_in(parameter: CallbackParam) -> None:
    """Let a parameter take ``~`` for the home folder, wherever its value comes from."""
    consume = parameter.consume_value

    def consume_expanded(*where: Any) -> tuple[Any, Any]:
        value, source = consume(*where)
        return expanded(value), source

    parameter.consume_value = consume_expanded


def expanded(value: Any) -> Any:
    """A value with the home folder in place of ``~``, also in ``wds/~/shards``; else as it is.

    Args:
        value: Text, or several; anything else stays.

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
    except RuntimeError:  # nobody has that name
        return value


def without_equals(arguments: list[str]) -> list[str]:
    """Return the arguments with ``-o=net`` as ``-onet``, which it would otherwise be ``=net`` for.

    Example:
        >>> without_equals(["-o=net", "--data=x", "--", "-o=net"])
        ['-onet', '--data=x', '--', '-o=net']
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    short = (SHORT_WITH_EQUALS.fullmatch(argument) for argument in arguments[:end])
    said = zip(arguments, short, strict=False)
    return [m[1] + m[2] if m else argument for argument, m in said] + arguments[end:]
