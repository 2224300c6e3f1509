"""Every error covtool raises on purpose. Catch `CovtoolError` to catch them all."""

import errno
from copy import copy
from typing import TYPE_CHECKING, Any

from covtool.near_names import guess
from covtool.printable import escaped, first_few, printable

if TYPE_CHECKING:
    # For annotations only: errors are imported before anything else, and must import fast.
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor


SHOWN_CLASSES = 12
"""Class names of a model, or of a data set, in a message."""

LONGEST_LINE = 2_000
"""Characters of an error's message or reason, before what is not printable is escaped."""

LONGEST_HINT = 10_000
"""Characters of an error's hint, before what is not printable is escaped."""

# A library may quote a whole file.
_LONGEST_REASON = 500  # characters of what a library says

RESUME_HINT = "A run goes on from its last saved state with: covtool finetune --resume DIR"


def reason_of(problem: Exception) -> str:
    """Return the system's or a library's message about a failure, as one printable sentence.

    Example:
        >>> reason_of(FileNotFoundError(errno.ENOENT, "No such file or directory", "x"))
        'No such file or directory.'
    """
    return f"{first_line(problem)}."


def first_line(problem: Exception) -> str:
    """Return the first line of what a failure says, without a full stop; else its type."""
    texts = (getattr(problem, name, None) for name in ("message", "strerror"))
    text = str(next(filter(None, texts), problem)).strip()
    line = (text.splitlines() or [type(problem).__name__])[0]
    return printable(line, longest=_LONGEST_REASON).rstrip(".")


class CovtoolError(Exception):
    """Base of all covtool errors.

    Whatever is put into it may be shown on a terminal: what is not printable is escaped, and what
    is longer than `LONGEST_LINE` or `LONGEST_HINT` is cut.

    Attributes:
        message: Problem, with the value; one line.
        reason: Cause, or what would be right; one line, or None where the message says it all.
        hint: Next thing to do; may have several lines.
        tell_once: Function that lets only the first of several failed processes show its error
            and return an exit code, which is the exit code of all; see `covtool.processes`.
    """

    tell_once: "Callable[[Callable[[], int]], int] | None" = None

    def __init__(self, message: str, *, reason: str | None = None, hint: str | None = None) -> None:
        self.message = printable(str(message), longest=LONGEST_LINE)
        self.reason = reason and printable(str(reason), longest=LONGEST_LINE)
        self.hint = hint and _printable_lines(str(hint))
        super().__init__(self._said())

    def _said(self) -> str:
        return "\n".join(part for part in (self.message, self.reason, self.hint) if part)

    def with_hint(self, hint: str) -> "CovtoolError":
        """Return the same error that says something else to do."""
        again = copy(self)
        again.hint = _printable_lines(hint)
        # `str` of an exception is that of its arguments.
        again.args = (again._said(),)
        return again

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses build their messages from arguments of their own: an error that comes from
        # another process is put together from what it says instead.
        return _again, (type(self), self.args), {**vars(self), "tell_once": None}


class ArgumentError(CovtoolError, ValueError):
    """An argument or a setting has a value that makes no sense."""


class ShapeError(ArgumentError):
    """A tensor does not have the shape a function asks for."""

    @classmethod
    def expected(cls, argument: str, layout: str, tensor: "Tensor") -> "ShapeError":
        """`argument` should have been laid out as `layout`, for example ``(B, C, H, W)``."""
        return cls(f"{argument} must have shape {layout}, but it has {tuple(tensor.shape)}.")


class UnknownVariantError(ArgumentError, LookupError):
    """A name is in no table of variants."""

    def __init__(self, kind: str, name: str, known: "Sequence[str]") -> None:
        super().__init__(
            f"There is no {kind} named {name!r}.{guess(name, known)}",
            hint=f"Available: {', '.join(known)}.",
        )


class UnknownKeyError(ArgumentError, KeyError):
    """A file of settings sets something that does not exist."""

    def __init__(self, where: str, key: str, known: "Sequence[str]") -> None:
        super().__init__(f"{where} has an unknown key {key!r}.{guess(key, known)}")


class SurgeryError(ArgumentError):
    """A model cannot be operated on in the way that was asked for."""


class OutputExistsError(CovtoolError, FileExistsError):
    """An output is already there, and there is no permission to replace it."""

    def __init__(self, path: "Path") -> None:
        super().__init__(
            f"{path} already exists.",
            reason="covtool replaces an existing output only on request.",
            hint="Choose another output, or add --overwrite.",
        )


class CheckpointError(CovtoolError, ValueError):
    """A checkpoint cannot be read, or is not what it should be."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint could only be read by running code that it brings along."""


class UnrecognizedCheckpointError(CheckpointError):
    """No known architecture has the tensors of a checkpoint."""


class DataError(CovtoolError, ValueError):
    """A data set is missing, empty, unreadable, or does not fit the model."""

    @classmethod
    def classes_differ(
        cls,
        of_model: "Iterable[str]",
        of_data: "Iterable[str]",
        *,
        hint: str = "Add --new-classifier to start the classifier afresh for the data's classes.",
    ) -> "DataError":
        """Return the model was trained for other classes than the data set has."""
        model, data = list(of_model), list(of_data)
        shown = [first_few(names, SHOWN_CLASSES) for names in (model, data)]
        return cls(
            f"The model has {len(model)} classes, the data set {len(data)}, and they differ.",
            reason=f"Model: {shown[0]}. Data: {shown[1]}.",
            hint=hint,
        )


class NonFiniteError(CovtoolError, ArithmeticError):
    """Training produced a loss or a gradient that is infinite or not a number."""


class RangeTestError(CovtoolError, ValueError):
    """A learning-rate range test suggests no rate."""


class SaveError(CovtoolError, OSError):
    """The state or the result of a run cannot be written."""

    @classmethod
    def of(cls, path: "Path", problem: Exception) -> "SaveError":
        """Writing `path` failed with `problem`."""
        number = getattr(problem, "errno", None)
        hint = None if number is None else _WRITING_HINTS.get(number)
        return cls(f"{path} cannot be written.", reason=reason_of(problem), hint=hint)


_ROOM = "Make room there, or choose another place."
_WRITING_HINTS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "No file may grow so large: see ulimit -f, or choose another place.",
    errno.EROFS: "Choose another place.",
    errno.EMFILE: "Too many files are open in this process: see ulimit -n.",
}
"""What to do about a write that failed, by the system's number."""


class HubError(CovtoolError, OSError):
    """The hub cannot be reached, or refuses."""


class OutOfMemoryError(CovtoolError, MemoryError):
    """A batch does not fit into the memory of the device."""


class WorkerError(CovtoolError, RuntimeError):
    """A process that loads images died."""


class VerificationError(CovtoolError, RuntimeError):
    """A file that was just written does not hold what it should."""


class InterruptedRunError(CovtoolError):
    """A run was ended by a signal, after its state had been saved.

    Attributes:
        signal_number: The signal; the exit code is 128 plus this.
    """

    def __init__(self, message: str, *, signal_number: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.signal_number = signal_number


class ProcessGroupError(CovtoolError, RuntimeError):
    """Several processes cannot go on together."""


class LostProcessError(ProcessGroupError):
    """One of several processes is gone, without a word."""

    def __init__(self, rank: int, world: int) -> None:
        super().__init__(
            f"Rank {rank} of {world} has lost another process, which ended without saying why.",
            reason="The system may have ended it, for want of memory.",
            hint=RESUME_HINT,
        )


class DeadlockError(ProcessGroupError):
    """One of several processes keeps the others waiting for longer than they may wait."""

    def __init__(
        self, behind: "Mapping[int, str]", world: int, *, waiting: str, timeout_s: float
    ) -> None:
        ranks = " and ".join(map(str, behind))
        which = f"Rank {ranks}" if len(behind) == 1 else f"Ranks {ranks}"
        places = ", ".join(f"rank {rank} at {place}" for rank, place in behind.items())
        super().__init__(
            f"{which} of {world} did not answer for {timeout_s:g} s.",
            reason=f"Last heard of: {places}. The others wait at {waiting}.",
            hint=f"Raise --dist-timeout if it was only slow. {RESUME_HINT}",
        )


def _printable_lines(text: str) -> str:
    shown = escaped(text[:LONGEST_HINT], keep="\n")
    return shown + ("..." if len(text) > LONGEST_HINT else "")


def _again(kind: type[CovtoolError], arguments: tuple[str, ...]) -> CovtoolError:
    # A class without the own __init__, whose arguments are not known here any more.
    blank = type(kind.__name__, (kind,), {"__init__": lambda problem, *arguments: None})
    problem: CovtoolError = blank(*arguments)
    problem.__class__ = kind
    problem.args = arguments
    return problem
