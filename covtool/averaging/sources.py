"""The models of an average: named, opened one at a time, and held against the first of them."""

from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from covtool.averaging.structure import require_same_structure
from covtool.checkpoints.opened import require_trained_classifier
from covtool.checkpoints.opening import open_model
from covtool.checkpoints.places import is_there
from covtool.checkpoints.tensor_checksum import checksum
from covtool.errors import CheckpointError
from covtool.full_paths import in_full
from covtool.printable import printable
from covtool.progress import Track
from covtool.specs import Recipe

MOST_PARTS = 5
"""Folders of a path that tell two models of one name apart, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model that was opened once, without its tensors.

    Attributes:
        given: Path or name that opens it.
        name: Name to show, and to keep in the history.
        recipe: Recipe of the model.
        weights: Checksum of its tensors.
        statistics: Checksum of its batch norms' statistics.
        dtypes: Kinds of its floating-point tensors.
        notes: Notes of opening it.
    """

    given: str
    name: str
    recipe: Recipe
    weights: str
    statistics: str
    dtypes: frozenset[torch.dtype]
    notes: tuple[str, ...]


class Opener:
    """Opens models one at a time, and holds each against the first.

    Args:
        given: Paths and names of the models, patterns resolved.
        track: Display of the progress.
    """

    def __init__(self, given: tuple[str, ...], track: Track) -> None:
        self.given = given
        self._names = dict(zip(given, short_names(given), strict=True))
        self._track = track
        self._shapes: dict[str, torch.Size] | None = None
        self.sources: dict[str, Source] = {}

    def __call__(self, given: str) -> tuple[nn.Module, Source]:
        """Return a model, on the CPU and in eval mode, and what is known about it.

        Raises:
            CheckpointError: It cannot be opened, its classifier is random, it is of another
                structure than the first model, or has changed since it was opened before.
        """
        found = open_model(given, track=self._track)
        name, state = self._names[given], found.model.state_dict()
        require_trained_classifier(given, found.recipe)
        source = Source(
            given=given,
            name=name,
            recipe=found.recipe,
            weights=checksum(state),
            statistics=checksum(statistics_of(found.model)),
            dtypes=frozenset(t.dtype for t in state.values() if t.is_floating_point()),
            notes=found.notes,
        )
        before = self.sources.setdefault(given, source)
        if before.weights != source.weights:
            raise CheckpointError(f"{given} has changed while the average was being computed.")
        first = next(iter(self.sources.values()))
        require_same_structure(first.name, first.recipe, name, found.recipe)
        self._require_shapes(first.name, name, state)
        return found.model, before

    @property
    def dtypes(self) -> frozenset[torch.dtype]:
        """Kinds of floating-point numbers in the models that were opened."""
        return frozenset().union(*(source.dtypes for source in self.sources.values()))

    def _require_shapes(self, first: str, name: str, state: dict[str, Tensor]) -> None:
        shapes = {key: tensor.shape for key, tensor in state.items()}
        if self._shapes is None:
            self._shapes = shapes
        if shapes == self._shapes:
            return
        keys = (*self._shapes, *shapes)
        key = next(key for key in keys if shapes.get(key) != self._shapes.get(key))
        raise CheckpointError(
            f"{first} and {name} have different tensors, and cannot be averaged.",
            reason=f"{printable(key)}: {_shape(self._shapes.get(key))} and "
            f"{_shape(shapes.get(key))}.",
        )


def _shape(shape: torch.Size | None) -> str:
    return "none" if shape is None else f"shape {tuple(shape)}"


def statistics_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the means and variances of a model's batch norms, by name."""
    return {
        f"{path}.{name}": buffer
        for path, module in model.named_modules()
        if isinstance(module, _BatchNorm)
        for name, buffer in module.named_buffers(recurse=False)
        if name in ("running_mean", "running_var")
    }


def resolved(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return models with the files that patterns stand for, in the order of their names.

    Raises:
        CheckpointError: No file has such a name.
    """
    found: list[str] = []
    for name in names:
        if not has_magic(name) or is_there(Path(name)):
            found.append(name)
            continue
        # `Path.glob` takes no pattern of a whole path.
        files = sorted(glob(name), key=lambda file: (len(file), file))  # noqa: PTH207
        if not files:
            raise CheckpointError(
                f"No file is called like {printable(name)!r}.", hint="Check the pattern."
            )
        found += files
    return tuple(found)


def short_names(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return names without folders, with as many as tell models apart.

    The file travels, and a home folder is a private matter.
    """
    paths = [in_full(name) if is_there(Path(name)) else Path(name) for name in given]
    for parts in range(1, MOST_PARTS):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(set(paths)):
            break
    return tuple(printable(name) for name in names)
