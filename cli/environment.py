"""The environment of a command: a working folder that exists, variables that libraries can read."""

import os
from collections.abc import MutableMapping

from covtool.errors import ArgumentError
from covtool.full_paths import is_working_folder_gone
from covtool.printable import printable

SIZES = ("COLUMNS", "LINES", "JUPYTER_COLUMNS", "JUPYTER_LINES", "TERMINAL_WIDTH")
"""Sizes of the terminal for rich and typer, which otherwise ask the terminal itself."""
SMALLEST_SIZE, LARGEST_SIZE = 20, 10_000
"""Characters of a line, or lines of a screen: fewer have no room for a table."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""Threads of a process, or of each level of nested ones, with commas between."""
MOST_THREADS = 4_096


def without_nonsense(environment: MutableMapping[str, str] = os.environ) -> list[str]:
    """Remove variables with nonsense, and return a line for each that a user should know of.

    Args:
        environment: Variables, which are changed.
    """
    for name in SIZES:
        if name in environment and not _is_count(environment[name], SMALLEST_SIZE, LARGEST_SIZE):
            del environment[name]
    notes = []
    for name in THREADS:
        value = environment.get(name)
        if value is None or all(_is_count(v.strip(), 1, MOST_THREADS) for v in value.split(",")):
            continue
        del environment[name]  # OpenMP and MKL would print a warning of their own for each process
        notes.append(f"{name} is {printable(value)!r}, which is not a number of threads: ignored.")
    return notes


def quieten_torch() -> None:
    """Silence warnings of torch's C++ parts, which come with stacks; before torch is loaded."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # a user's own level stays


def require_working_folder() -> None:
    """Refuse to start in a folder that was deleted: torch's libraries would end the process.

    Raises:
        ArgumentError: It does not exist any more.
    """
    if is_working_folder_gone():
        raise ArgumentError(
            "The working folder has been deleted.",
            hint="Go to one that exists, with cd, and start again.",
        )


def _is_count(text: str, least: int, most: int) -> bool:
    # The length first: int() refuses thousands of digits with an error of its own.
    return text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most
