"""The configuration of a run: names and values in YAML."""

from pathlib import Path
from typing import Any

from covtool.documents import parse_yaml
from covtool.errors import ArgumentError, reason_of
from covtool.regular_files import MEBIBYTE, read_text

LARGEST_SETTINGS = 4 * MEBIBYTE
"""Bytes of a file of settings; a recipe with the names of 21,843 classes has below 2 MiB."""


def read_settings(path: Path) -> dict[str, Any]:
    """Return the names and values in args.yaml or recipe.yaml.

    Raises:
        ArgumentError: It cannot be read, or holds something else.
    """
    try:
        values = parse_yaml(read_text(path, at_most=LARGEST_SETTINGS))
    except (OSError, ValueError) as problem:
        raise unusable(path, reason_of(problem)) from problem
    if not isinstance(values, dict):
        raise unusable(path, "It does not hold names and values.")
    # YAML has numbers, dates and booleans as keys.
    if odd := next((name for name in values if not isinstance(name, str)), None):
        raise unusable(path, f"{odd!r} is not a name of a setting.")
    return values


def unusable(path: Path, reason: str) -> ArgumentError:
    """Return the error of a configuration that a run cannot go on with."""
    return ArgumentError(
        f"{path} cannot be used.",
        reason=reason,
        hint="The run wrote it when it was started: bring it back as it was.",
    )
