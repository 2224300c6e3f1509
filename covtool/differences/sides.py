"""The two sides of a comparison: what each file holds, its tensors read one at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from covtool.checkpoints.foreign import ForeignCheckpoint, read_checkpoint
from covtool.checkpoints.inspection import inspect_source
from covtool.checkpoints.model_file import is_covtool_file, read_recipe
from covtool.checkpoints.opening import open_model
from covtool.checkpoints.own_runs import model_of_state
from covtool.checkpoints.places import is_there
from covtool.checkpoints.run_models import find_in_run
from covtool.checkpoints.shards import weights_file
from covtool.checkpoints.tensor_checksum import CHECKSUM_KEY, checksum
from covtool.checkpoints.tensor_files import DTYPES
from covtool.checkpoints.unreadable import refused, unusable
from covtool.errors import CheckpointError
from covtool.progress import Track
from covtool.regular_files import is_regular, opened
from covtool.safetensors_header import HeaderError, header_of
from covtool.specs import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A model, as far as a comparison needs it.

    Attributes:
        name: Path or name as it was given.
        tensors: Tensors by name.
        recipe: Recipe of the model; None where it is not recognized.
        is_recognized: Whether the recipe is what was recognized, and not what the file says.
        notes: Choices, in sentences.
    """

    name: str
    tensors: Mapping[str, Tensor]
    recipe: Recipe | None
    is_recognized: bool = False
    notes: tuple[str, ...] = ()


class StreamedTensors(Mapping[str, Tensor]):
    """The tensors of a covtool file, each read when it is asked for.

    Args:
        path: The file.

    Raises:
        CheckpointError: It is damaged, or is not what was written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with opened(path) as file:
                self._header = header_of(file)
            for name, entry in self._header.entries.items():
                if entry.dtype not in DTYPES:
                    raise unusable(path, name, entry.dtype)
            expected = self._header.metadata.get(CHECKSUM_KEY)
            if expected is not None and checksum(self) != expected:
                raise HeaderError("Its tensors are not those that covtool wrote.")
        except (OSError, HeaderError) as problem:
            raise refused(path, problem) from problem

    def __iter__(self) -> Iterator[str]:
        return iter(self._header.entries)

    def __len__(self) -> int:
        return len(self._header.entries)

    def __getitem__(self, name: str) -> Tensor:
        entry = self._header.entries[name]
        try:
            with opened(self._path) as file:
                file.seek(self._header.start + entry.start)
                content = bytearray(file.read(entry.end - entry.start))
        except OSError as problem:
            raise refused(self._path, problem) from problem
        if len(content) != entry.end - entry.start:
            raise refused(self._path, HeaderError("It became shorter while it was being read."))
        if not content:  # `frombuffer` refuses to read nothing
            return torch.empty(entry.shape, dtype=DTYPES[entry.dtype])
        return torch.frombuffer(content, dtype=DTYPES[entry.dtype]).reshape(entry.shape)


def side_of(name: str, track: Track) -> Side:
    """Return a side of a comparison.

    A file of another program that is not recognized has its tensors only.

    Args:
        name: A covtool file, a run's folder, a state, a checkpoint, or a model's name.
        track: Display of the progress, should unknown architectures have to be learned.

    Raises:
        CheckpointError: There is no such model, or it cannot be read.
    """
    is_there(Path(name))  # raises where it cannot even be looked at
    in_run, notes = find_in_run(name)
    path = in_run or weights_file(Path(name))
    if not is_there(path):
        found = open_model(name, finite=False, track=track)
        tensors = found.model.state_dict()
        return Side(name=name, tensors=tensors, recipe=found.recipe, notes=found.notes)
    if is_regular(path) and is_covtool_file(path):
        recipe = read_recipe(path)
        return Side(name=name, tensors=StreamedTensors(path), recipe=recipe, notes=notes)
    checkpoint = read_checkpoint(path)
    if checkpoint.saved is not None and checkpoint.saved.recipe is not None:
        own = model_of_state(checkpoint)
        return Side(name=name, tensors=checkpoint.tensors, recipe=own.recipe, notes=own.notes)
    return _foreign(name, checkpoint, track)


def _foreign(name: str, checkpoint: ForeignCheckpoint, track: Track) -> Side:
    try:
        recipe = inspect_source(name, track=track)[0].recipe
        why = None if recipe else f"The architecture of {name} is not certain."
    except CheckpointError as problem:
        recipe, why = None, f"The architecture of {name} is not known: {problem.message}"
    return Side(
        name=name,
        tensors=checkpoint.state,
        recipe=recipe,
        is_recognized=True,
        notes=(*checkpoint.notes, *filter(None, [why])),
    )


def named_as_network(side: Side, track: Track) -> Side:
    """Return a recognized file with the names that its network has in timm or torchvision.

    Args:
        side: A file of another code base, whose names mean nothing to other files.
        track: Display of the progress.
    """
    found = open_model(side.name, finite=False, track=track)
    return replace(
        side,
        tensors=found.model.state_dict(),
        notes=(
            *side.notes,
            f"The tensors of {side.name} are called as in {found.recipe.base.name}.",
        ),
    )
