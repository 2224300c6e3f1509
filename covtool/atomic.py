"""Files appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from covtool.errors import ArgumentError, CovtoolError, OutputExistsError

OTHER_FORMATS = frozenset(
    (
        *(".pth", ".pt", ".bin", ".ckpt", ".tar", ".pkl", ".pickle", ".npz", ".npy", ".onnx"),
        *(".h5", ".hdf5", ".pb", ".tflite", ".msgpack", ".zip", ".safetensor", ".txt", ".csv"),
        *(".json", ".yaml", ".yml"),
    )
)
"""How the names of other files end, which a model is not written to."""

_written: list[Path] = []  # of this process, for whoever has to say so


def written_files() -> tuple[Path, ...]:
    """Files that this process has written whole, in order."""
    return tuple(_written)


def require_writable(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that could not be written, before anything is computed for it.

    Raises:
        ArgumentError: Its folder does not exist or cannot be written to, or it is a folder itself.
        OutputExistsError: There is such a file, and `overwrite` is False.
    """
    try:
        _require_free(path, overwrite=overwrite)
        temporary = _beside(path)
        temporary.touch()
        temporary.unlink()
    except OSError as problem:
        if isinstance(problem, CovtoolError):
            raise
        raise ArgumentError(
            f"{path} cannot be written.",
            reason=f"{problem.strerror or problem}.",
            hint="Choose another place, or make this one writable.",
        ) from problem


def require_model_name(path: Path) -> None:
    """Refuse a name for a model's file that is one of another format.

    Whoever loads ``model.pth`` with ``torch.load`` would not get far.

    Raises:
        ArgumentError: It ends so.
    """
    if path.suffix.lower() in OTHER_FORMATS:
        raise ArgumentError(
            f"{path} is not the name of a file of safetensors, which is what covtool writes.",
            hint=f"Call it {path.with_suffix('.safetensors')}.",
        )


def _require_free(path: Path, *, overwrite: bool) -> None:
    if not path.parent.is_dir():
        raise ArgumentError(
            f"There is no folder {path.parent} to write to.",
            hint="Make it first, or choose another place.",
        )
    if path.is_dir():
        raise ArgumentError(
            f"{path} is a folder.",
            reason="What is written is one file, and a folder is not replaced.",
            hint="Name a file, in that folder for example.",
        )
    if path.exists() and not overwrite:
        raise OutputExistsError(path)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to; it gets that name when the block succeeds.

    The content has reached the disk before the name does. An existing file is replaced. Nothing
    is left behind when the block fails.
    """
    temporary = _beside(path)
    temporary.touch()
    usual_mode = temporary.stat().st_mode  # as the umask says; some writers make private files
    try:
        yield temporary
        temporary.chmod(usual_mode)
        _sync(temporary)
        temporary.replace(path)
        _written.append(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
