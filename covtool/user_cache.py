"""The folder of a user's cache."""

import os
from pathlib import Path

from covtool.errors import ArgumentError


def user_cache() -> Path:
    """Return covtool's folder in ``XDG_CACHE_HOME`` or ``~/.cache``; it need not exist.

    Raises:
        ArgumentError: The user has no home, as in a container that does not know its user. A
            folder that everyone can write to does not take its place: others could put files there.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(given or Path.home() / ".cache") / "covtool"
    except RuntimeError as problem:  # what `Path.home` raises without HOME and a password entry
        raise ArgumentError(
            "There is no home folder, and so no cache in it.",
            reason="The environment has no HOME, and the system does not know this user.",
            hint="Set XDG_CACHE_HOME or HOME to a folder of yours.",
        ) from problem
