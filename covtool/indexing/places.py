"""Where an index is said to be: refused where there is none, before torch is loaded."""

from pathlib import Path

from covtool.checkpoints.places import close_names, names_in
from covtool.errors import DataError


def require_index(path: Path) -> None:
    """Refuse an index that does not exist; what is there is not looked at.

    Raises:
        DataError: It does not exist.
    """
    try:
        path.stat()
    except FileNotFoundError as problem:
        raise no_index(path) from problem
    except (OSError, ValueError):  # said with more words where it is read
        return


def no_index(path: Path) -> DataError:
    """Build the error about an index that does not exist, with the names near it."""
    near = close_names(path.name, names_in(path.parent))
    return DataError(
        f"There is no index {path}.",
        reason=f"Near it: {', '.join(near)}." if near else None,
        hint="covtool index MODEL IMAGES -o makes one.",
    )
