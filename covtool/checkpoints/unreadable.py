"""The refusals of files that cannot be read as the weights of a network."""

from pathlib import Path

from covtool.checkpoints.places import cannot_be_read, missing_file, no_file
from covtool.errors import CheckpointError
from covtool.printable import printable
from covtool.safetensors_header import ExcessError

DOWNLOAD_AGAIN = "Download or copy it again, and compare the sizes."


def damaged(path: Path | str, reason: str) -> CheckpointError:
    """Return the error for a file that starts like a checkpoint and cannot be read to its end."""
    return CheckpointError(f"{path} is damaged or cut short.", reason=reason, hint=DOWNLOAD_AGAIN)


def unusable(path: Path | str, name: str, kind: str) -> CheckpointError:
    """Return the error for a tensor that does not hold the plain numbers that weights are."""
    return CheckpointError(
        f"{path} has tensors that covtool cannot use.",
        reason=f"{printable(name)!r} is {printable(kind)}; "
        "covtool works on dense floating-point weights.",
        hint="Give the checkpoint in floating point, from before it was changed.",
    )


def not_of_a_network(path: Path | str, problem: ExcessError) -> CheckpointError:
    """Return the error for more tensors, or longer names, than the weights of a network have."""
    return CheckpointError(
        f"{path} does not hold the weights of an image network.",
        reason=str(problem),
        hint="Give the checkpoint of one network.",
    )


def refused(path: Path | str, problem: OSError | ValueError) -> CheckpointError:
    """Return the error for what the system, or the check of a file's content, does not accept."""
    if isinstance(problem, ExcessError):
        return not_of_a_network(path, problem)
    if isinstance(problem, FileNotFoundError | NotADirectoryError):
        return missing_file(Path(path))
    if isinstance(problem, IsADirectoryError):
        return no_file(Path(path))
    if isinstance(problem, OSError):
        return cannot_be_read(path, problem)
    return damaged(path, printable(str(problem)))
