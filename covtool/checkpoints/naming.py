"""Is there a model of that name? Answered from paths and lists of names, before torch is loaded."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from covtool.backbones.names import HUB_PREFIX, TORCHVISION_PREFIX, parts_of, shipped_names
from covtool.checkpoints.places import (
    SUFFIXES,
    close_names,
    is_folder,
    is_there,
    missing_file,
    names_in,
    no_file,
    stem_of,
)
from covtool.checkpoints.run_models import find_in_run
from covtool.checkpoints.shards import weights_file
from covtool.errors import CheckpointError, UnknownVariantError
from covtool.printable import printable
from covtool.specs.operations import Operation, stem_of_operations


def require_model(source: str | Path) -> None:
    """Refuse what is neither a file, a run, nor a name, in the words of `covtool.open_model`.

    What passes may still be refused when it is opened: no file is read, and where other versions
    of timm and torchvision are installed than the lists of names are for, names are not judged.

    Args:
        source: Name or path of a model, as `covtool.open_model` takes it.

    Raises:
        CheckpointError: There is no such thing, or it is a folder that is no model.
    """
    name = str(source)
    path = place_of_model(name).path
    if is_there(path):
        if is_folder(path):
            raise no_file(path)
        return
    if name.startswith(HUB_PREFIX):
        return
    if path.suffix in SUFFIXES:
        raise missing_file(path)
    known = shipped_names()
    if known is None:
        return
    try:
        parts_of(name, known)
    except UnknownVariantError as problem:
        raise unknown_name(name, problem) from problem


class ModelPlace(NamedTuple):
    """Where a model is to be read from.

    Attributes:
        path: The file, or the path as it was given.
        is_run: Whether it is a file of a run.
        notes: Choice of the file, in sentences.
    """

    path: Path
    is_run: bool
    notes: tuple[str, ...]


def place_of_model(name: str) -> ModelPlace:
    """Return the file that a name stands for: of a run or of a folder of the Hub, or the path.

    Raises:
        CheckpointError: It cannot be looked at, or is a run without a model.
    """
    is_there(Path(name))  # raises where it cannot even be looked at
    in_run, notes = find_in_run(name)
    return ModelPlace(in_run or weights_file(Path(name)), in_run is not None, notes)


def converted_name(source: str, operations: Iterable[Operation]) -> Path:
    """Return the file that a conversion writes where no name is given."""
    return Path(f"{stem_of(source)}-{stem_of_operations(operations)}.safetensors")


def unknown_name(source: str, problem: UnknownVariantError) -> CheckpointError:
    """Return the error for what is no file, and the name of no architecture.

    Args:
        source: Name or path as it was given.
        problem: Error about the name.
    """
    if source.startswith((TORCHVISION_PREFIX, HUB_PREFIX)):
        return CheckpointError(problem.message, hint=problem.hint)
    path = Path(source)
    if len(path.parts) > 1:
        return missing_file(path)
    names = (name for name in names_in(Path()) if name.endswith(SUFFIXES))
    near = ", ".join(close_names(source, names))
    return CheckpointError(
        f"{printable(source)!r} is neither a file nor the name of an architecture.",
        reason=f"Near it in this folder: {near}." if near else problem.message,
        hint=(problem.hint or "").replace("Available:", "Similar names:"),
    )
