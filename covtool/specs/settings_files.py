"""Files in which a user writes settings: a command's options, the operations of a recipe."""

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from covtool.documents import parse_yaml
from covtool.errors import ArgumentError, reason_of
from covtool.printable import printable
from covtool.regular_files import read_text
from covtool.run_files.settings import LARGEST_SETTINGS
from covtool.specs.operations import MOST_OPERATIONS, Operation
from covtool.specs.problems import first_problem, shown

_OPERATIONS = TypeAdapter(list[Operation])
_KEY = "operations"


def read_settings(path: Path) -> dict[str, Any]:
    """Read names and values from a YAML file; ``-`` in names becomes ``_``. An empty file has none.

    Raises:
        ArgumentError: It cannot be read, holds something else, or says a name twice.
    """
    values = _document(path, "configuration")
    if not isinstance(values, dict | None):
        raise ArgumentError(
            f"The configuration {printable(str(path))} must hold names and values.",
            reason=f"It is {_kind(values)}.",
        )
    settings: dict[str, Any] = {}
    for key, value in (values or {}).items():
        name = str(key).replace("-", "_")
        # `batch-size` and `batch_size` are one option: the second would win without a word.
        if name in settings:
            raise ArgumentError(f"{printable(str(path))} says {printable(name)!r} twice.")
        settings[name] = value
    return settings


def read_operations(path: Path) -> list[Operation]:
    """Return the operations in a YAML or JSON file: a list of them, or a recipe that has one.

    Raises:
        ArgumentError: It cannot be read, or does not hold such a list.
    """
    content = _document(path, "recipe")
    # Whatever else a recipe has is not looked at: it is applied to another model.
    listed = content.get(_KEY) if isinstance(content, dict) else content
    if not isinstance(listed, list):
        what = f"{_KEY}: {_kind(listed)}" if isinstance(content, dict) else _kind(content)
        raise _no_recipe(path, f"a list of operations is missing ({what})")
    if len(listed) > MOST_OPERATIONS:
        raise _no_recipe(path, f"it has {len(listed):,} operations, and {MOST_OPERATIONS} at most")
    try:
        return _OPERATIONS.validate_python(listed)
    except ValidationError as problem:
        raise ArgumentError(
            f"The recipe {printable(str(path))} is not valid: {first_problem(problem)}."
        ) from problem


def _document(path: Path, what: str) -> Any:
    try:
        # utf-8-sig: editors on Windows begin a file with a byte order mark.
        return parse_yaml(read_text(path, encoding="utf-8-sig", at_most=LARGEST_SETTINGS))
    except (OSError, ValueError) as problem:
        raise ArgumentError(
            f"The {what} {printable(str(path))} cannot be read: {reason_of(problem)}"
        ) from problem


def _no_recipe(path: Path, reason: str) -> ArgumentError:
    return ArgumentError(
        f"The recipe {printable(str(path))} cannot be read: {reason}.",
        hint="It is YAML or JSON with a list of operations; covtool inspect --json shows one.",
    )


def _kind(value: Any) -> str:
    return "nothing" if value is None else shown(value)
