"""Paths as users give them: looked at without an exception for what no file can be called."""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from errno import EINVAL
from itertools import islice
from pathlib import Path

from covtool.errors import CheckpointError, reason_of
from covtool.full_paths import in_full
from covtool.printable import printable
from covtool.run_files import ARGUMENTS, EXPORTED, RECIPE, STATES

MOST_COMPARED = 2_000
"""Names of a folder that are compared with one that is missing."""

SUFFIXES = (".safetensors", ".pth", ".pt", ".tar", ".bin", ".ckpt")
"""Suffixes of the names of checkpoints."""


def stem_of(source: str) -> str:
    """Return the name of a file or a model without folder, library, ``hf-hub:`` and suffix.

    Example:
        >>> stem_of("runs/resnet50.pth.tar"), stem_of("torchvision:resnet50")
        ('resnet50', 'resnet50')
    """
    name = Path(source.rsplit(":", 1)[-1]).name
    while name.endswith(SUFFIXES):
        name = name.rpartition(".")[0]
    # A run or a file called after RUN@last would stand in its place afterwards.
    return name.replace("@", "-")


def is_folder(path: Path) -> bool:
    """Return whether there is a folder; what cannot be looked at is none."""
    return os.path.isdir(path)  # noqa: PTH112 -- Path's raises where a name is too long


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run of covtool, by the names in it."""
    # What it exported may have been removed; another program's args.yaml alone is no run of ours.
    has_arguments = os.path.isfile(folder / ARGUMENTS)  # noqa: PTH113 -- as above
    ours = (folder / STATES, folder / RECIPE)
    return is_folder(folder / EXPORTED) or (has_arguments and any(map(os.path.exists, ours)))


def is_there(path: Path) -> bool:
    """Return whether there is anything of that name, of any kind.

    Raises:
        CheckpointError: It cannot be looked at: a name that is too long or that
            no file can have, a folder that is closed.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except ValueError as problem:  # a NUL, or what the file system's encoding does not have
        raise cannot_be_read(path, OSError(EINVAL, "No file can have this name")) from problem
    except OSError as problem:
        raise cannot_be_read(path, problem) from problem
    return True


def cannot_be_read(path: Path | str, problem: OSError) -> CheckpointError:
    """Return the error for a file that the system does not give, with the system's reason."""
    return CheckpointError(
        f"{printable(str(path), longest=400)} cannot be read.",
        reason=reason_of(problem),
        hint="Give a file that can be read.",
    )


def missing_file(path: Path) -> CheckpointError:
    """Return the error for a missing file, with the folder's similar names."""
    shown = printable(str(path), longest=400)
    if not is_folder(path.parent):
        reason = f"There is no folder {printable(str(path.parent), longest=400)}."
        return CheckpointError(f"{shown} does not exist.", reason=reason, hint="Check it.")
    near = close_names(path.name, names_in(path.parent))
    fallback = "Check the name, and the folder that you are in."
    return CheckpointError(
        f"{shown} does not exist.",
        reason=f"The folder {in_full(path.parent)} has no file of that name.",
        hint=f"Did you mean {', '.join(near)}?" if near else fallback,
    )


def no_file(path: Path) -> CheckpointError:
    """Return the error for a folder where a checkpoint should be, with what in it may be one."""
    names = names_in(path)
    inside = [name for name in names if name.endswith(SUFFIXES)]
    runs = [name for name in names[:MOST_COMPARED] if is_run(path / name)]
    if runs:
        hint = f"In it are runs: {', '.join(printable(str(path / name)) for name in runs[:8])}."
    else:
        hint = f"In it are: {', '.join(map(printable, inside[:8]))}." if inside else "Name a file."
    return CheckpointError(
        f"{path} is a folder, neither a checkpoint nor a run of covtool.",
        reason="A checkpoint is one file; a run has the file args.yaml and the folder exported.",
        hint=hint,
    )


def names_in(folder: Path) -> list[str]:
    """Return names of what is in a folder, sorted; none of one that cannot be looked into."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 -- names alone, of perhaps many files
    except OSError:
        return []


def close_names(name: str, names: Iterable[str]) -> list[str]:
    """Return at most three names that are like one, fit for a sentence."""
    others = (other for other in names if other != name)  # a link that leads nowhere has its name
    # The comparison takes time that grows with the square of the length.
    few = list(islice(others, MOST_COMPARED))
    return [printable(near) for near in get_close_matches(name[:255], few, n=3, cutoff=0.5)]
