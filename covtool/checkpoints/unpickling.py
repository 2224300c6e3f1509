"""Read what torch.save wrote without running anything that the file brings along."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from covtool.checkpoints.file_kinds import damaged
from covtool.checkpoints.pickles import (
    CodeError,
    PickleError,
    in_memory,
    is_whole_model,
    read_archive,
    read_legacy,
    require_whole,
)
from covtool.errors import CheckpointError, UnsafeCheckpointError, reason_of
from covtool.printable import first_few, printable

_SHOWN = 4
_COPIES = 4  # of a file of covtool's own, by tensors that share numbers; it writes none
_LONGEST_NAME = 120
_COMMON = ("builtins.", "collections.", "torch.")  # named last
_OF_TENSORS = ("torch._utils.", "torch._tensor.", "torch.storage.", "collections.OrderedDict")

RESAVE = (
    "If you trust it, save its tensors alone: content = torch.load(PATH, weights_only=False), then "
    "torch.save(content.state_dict(), NEW_PATH); of a dictionary, save the part with the tensors."
)

# The last line of defence: what malformed bytes might make of Python, NumPy and torch beside a
# PickleError. RecursionError and UnicodeError are among them.
_MALFORMED = (
    *(ArithmeticError, AssertionError, AttributeError, BufferError, LookupError, RuntimeError),
    *(TypeError, ValueError),
)
_UNFORESEEN = "A value in it is not of the kind that its place asks for."


def load_torch_file(path: Path, *, archive: bool) -> Any:
    """Load what torch.save wrote, on the CPU; tensors of a zip archive stay on the disk.

    Plain values, NumPy's and those of common configuration libraries are themselves; an object of
    any other class is a `covtool.checkpoints.pickles.Placeholder`.

    Args:
        path: The file.
        archive: Whether it is a zip archive, not the format from before torch 1.6.

    Raises:
        UnsafeCheckpointError: It is a whole pickled model, or it names what would run code.
        CheckpointError: The file is damaged.
    """
    with _errors_of(path):
        content, names = read_archive(path) if archive else read_legacy(path)
        whole = is_whole_model(content)
    if whole:
        kinds = [n for n in names if not n.startswith(_OF_TENSORS) and not n.endswith("Storage")]
        raise _unsafe(path, "a whole pickled model", kinds)
    return content


def load_own_file(path: Path) -> Any:
    """Return tensors and plain values that covtool put into a file with torch.save, in memory.

    Everything in the file is compared with its checksums, whether it is used or not.

    Raises:
        UnsafeCheckpointError: It names what would run code.
        CheckpointError: It cannot be read, is damaged, or holds other objects.
    """
    with _errors_of(path):
        # The checksums of all entries, also of tensors that this run does not read.
        require_whole(path)
        return in_memory(read_archive(path)[0], at_most=_COPIES * path.stat().st_size)


@contextmanager
def _errors_of(path: Path) -> Iterator[None]:
    """Turn any error of reading a file into one of covtool's."""
    try:
        yield
    except CodeError as problem:
        raise _unsafe(path, "what would run code", problem.names) from problem
    except PickleError as problem:
        raise damaged(path, printable(str(problem))) from problem
    except OSError as problem:
        raise CheckpointError(f"{path} cannot be read.", reason=reason_of(problem)) from problem
    except MemoryError as problem:
        raise CheckpointError(f"{path} needs more memory than there is.") from problem
    except _MALFORMED as problem:
        raise damaged(path, _UNFORESEEN) from problem


def _unsafe(path: Path, what: str, names: list[str]) -> CheckpointError:
    names = sorted(names, key=lambda name: (name.startswith(_COMMON), name))
    shown = first_few(names, _SHOWN, show=partial(printable, longest=_LONGEST_NAME))
    return UnsafeCheckpointError(
        f"{path} cannot be read without running code.",
        reason=f"It holds {what}, not only tensors: {shown}.",
        hint=RESAVE,
    )
