"""A folder that one process writes to at a time."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from covtool.atomic import require_free
from covtool.errors import ArgumentError, reason_of
from covtool.file_locks import locked_file
from covtool.run_files import LOCK


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to the folder of a run; one that was killed does not.

    Raises:
        ArgumentError: Another process does so now, or the lock cannot be made.
    """
    require_free(folder / LOCK, overwrite=True)  # a pipe in its place would be waited for
    with ExitStack() as held:
        try:
            is_held = held.enter_context(locked_file(folder / LOCK))
        except OSError as problem:
            raise unusable_place(folder, LOCK, problem) from problem
        if is_held is False:
            raise ArgumentError(
                f"The run in {folder} is under way in another process.",
                hint="Wait for it, or end it first.",
            )
        yield


def unusable_place(folder: Path, name: str, problem: OSError) -> ArgumentError:
    """Return the error of something in a run's folder that cannot be written."""
    return ArgumentError(
        f"{folder / name} cannot be written.",
        reason=reason_of(problem),
        hint=f"Make room there, or make it writable; then go on with: --resume {folder}",
    )
