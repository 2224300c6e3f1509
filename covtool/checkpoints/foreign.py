"""Checkpoints as other programs write them, read as named tensors and nothing else."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path, PurePath
from string import digits
from typing import Any

import numpy as np
from torch import Tensor

from covtool.checkpoints.containers import find_content, prefix_chain
from covtool.checkpoints.file_kinds import file_format
from covtool.checkpoints.kept_neighbors import split_tensors
from covtool.checkpoints.metadata import Statements, read_statements
from covtool.checkpoints.model_file import RECIPE_KEY
from covtool.checkpoints.other_files import require_no_features
from covtool.checkpoints.pickles import GlobalName, Placeholder, UnusableTensor, plain
from covtool.checkpoints.plain_tensors import require_plain, require_usual
from covtool.checkpoints.saved_states import SavedState, saved_state
from covtool.checkpoints.shards import shards_of, weights_file
from covtool.checkpoints.tensor_files import read_metadata, read_tensors
from covtool.checkpoints.unpickling import load_torch_file
from covtool.checkpoints.unreadable import damaged, refused
from covtool.printable import printable
from covtool.regular_files import opened
from covtool.safetensors_header import MOST_TENSORS

_CLEAR_MAJORITY = 0.6
_BRIEF = 60  # characters of a value
_LONGEST_INT = 1024  # bits; Python does not write out a number of thousands of digits


@dataclass(frozen=True, kw_only=True)
class ForeignCheckpoint:
    """The tensors of a checkpoint, and where they were in it.

    Attributes:
        path: The file.
        format: ``zip`` (torch.save), ``legacy`` (before torch 1.6), ``safetensors``, ``covtool``.
        container: Entries on the way to the tensors; None where the file is a state dict.
        is_ema: Whether they are an exponential moving average.
        tensors: Tensors under their names in the container.
        prefix: Prefix that was removed from the names.
        others: Other entries at the top of the file, each in a few characters.
        recipe: The raw recipe of a covtool file, or None.
        neighbors: Training embeddings that a covtool file keeps, by their names in it.
        beside: Tensors of other entries, which may belong to the model.
        unused: Names of tensors that were found to belong to something else; None where everything
            outside the prefix does.
        statements: Statements of the file, its name and its folder about it.
        notes: Choices, in sentences.
        saved: Description of the run, if it is a state of one of covtool's own runs.
    """

    path: Path
    format: str
    tensors: Mapping[str, Tensor]
    container: str | None = None
    is_ema: bool = False
    prefix: str = ""
    beside: Mapping[str, Tensor] = field(default_factory=dict)
    unused: tuple[str, ...] | None = None
    others: Mapping[str, str] = field(default_factory=dict)
    not_tensors: tuple[str, ...] = ()
    recipe: str | None = None
    neighbors: Mapping[str, Tensor] = field(default_factory=dict)
    statements: Statements = field(default_factory=Statements)
    notes: tuple[str, ...] = ()
    saved: SavedState | None = None

    @property
    def stated_architecture(self) -> str | None:
        """The architecture's name, where the content of the file or a configuration says it."""
        return self.statements.written_architecture

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """The tensors behind the prefix, under the names that follow it."""
        return {
            name.removeprefix(self.prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(self.prefix)
        }

    @property
    def outside(self) -> dict[str, Tensor]:
        """The tensors that are not behind the prefix, and those of other entries."""
        others = {n: t for n, t in self.tensors.items() if not n.startswith(self.prefix)}
        return {**others, **self.beside}

    @property
    def is_ordered(self) -> bool:
        """Whether the file keeps the order that the tensors had in the model."""
        return self.format in ("zip", "legacy")

    @cached_property
    def ignored(self) -> tuple[str, ...]:
        """Entries that are not used: of something else, or no tensors."""
        outside = (name for name in self.tensors if not name.startswith(self.prefix))
        unused = (*outside, *self.beside) if self.unused is None else self.unused
        return (*unused, *self.not_tensors)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, in hexadecimal; computed when first asked for."""
        try:
            with opened(self.path) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as problem:
            raise refused(self.path, problem) from problem

    def with_prefix(self, prefix: str) -> "ForeignCheckpoint":
        """Return the same file with another prefix taken off."""
        return self if prefix == self.prefix else replace(self, prefix=prefix)

    def using(self, prefix: str, unused: tuple[str, ...]) -> "ForeignCheckpoint":
        """Return the same file, of which the tensors behind a prefix are used but for some."""
        return replace(self, prefix=prefix, unused=unused)

    def readings(self) -> tuple["ForeignCheckpoint", ...]:
        """Return every plausible prefix, the longest first, none at all last."""
        return tuple(self.with_prefix(prefix) for prefix in reversed(self._prefixes))

    @cached_property
    def _prefixes(self) -> tuple[str, ...]:
        return prefix_chain(self.tensors)


def read_checkpoint(path: str | Path, *, weights: str = "auto") -> ForeignCheckpoint:
    """Read the tensors of a checkpoint of any common format; no code of the file is run.

    Args:
        path: The file, whose content decides about the format, not its name; the index of several,
            or one of them, for all; or a folder of the Hugging Face Hub.
        weights: ``ema`` or ``raw``, where a file has both; ``auto`` prefers the average. Or the
            name of an entry, or a part of the tensors' names: ``student``, ``encoder_k``.

    Raises:
        UnsafeCheckpointError: The file needs more classes than tensors need.
        CheckpointError: There is no such file, it is not a checkpoint, damaged, has no usable
            tensors, or has several networks of which one must be chosen.
        ArgumentError: Nothing in the file is called `weights`.
    """
    path = weights_file(Path(path))
    files = shards_of(path) or (path,)
    kind, loaded, metadata = _load(path, files)
    require_usual(path, loaded)
    content = find_content(path, loaded, weights)
    require_plain(path, content.entries, stored=_size(path, files))
    tensors = {str(k): v for k, v in content.entries.items() if isinstance(v, Tensor)}
    # Not the model's: its tensors are what is matched, counted, and started from.
    tensors, neighbors = split_tensors(tensors) if RECIPE_KEY in metadata else (tensors, {})
    saved = saved_state(path, loaded)
    return ForeignCheckpoint(
        path=path,
        format="covtool" if RECIPE_KEY in metadata else kind,
        container=content.container,
        is_ema=content.is_ema,
        tensors=tensors,
        prefix=_default_prefix(tensors),
        beside={name: t for name, t in content.beside.items() if name not in tensors},
        others={printable(name): _brief(value) for name, value in content.others.items()},
        not_tensors=tuple(str(k) for k, v in content.entries.items() if not isinstance(v, Tensor)),
        recipe=metadata.get(RECIPE_KEY),
        neighbors=neighbors,
        notes=content.notes,
        # covtool's own files have a recipe, which needs no guessing from names and folders.
        statements=Statements()
        if saved or RECIPE_KEY in metadata
        else read_statements(path, plain(loaded), metadata),
        saved=saved,
    )


def _load(path: Path, files: Sequence[Path]) -> tuple[str, Any, Mapping[str, str]]:
    """Return the format, content and metadata of a file, or of all shards of the weights in it."""
    if len(files) == 1:
        return _loaded(files[0])
    kind, merged = "", {}
    for file in files:
        own, loaded, _ = _loaded(file)
        kind = kind or own
        loaded = loaded if isinstance(loaded, Mapping) else {}
        # A tensor in two shards means that files of two models are mixed.
        twice = next((name for name in loaded if name in merged), None)
        if twice is not None:
            raise damaged(path, f"Two of its files hold {printable(str(twice))!r}.")
        merged |= loaded
        if len(merged) > MOST_TENSORS:
            break  # which is refused
    return kind, merged, {}


def _size(path: Path, files: Sequence[Path]) -> int:
    try:
        return sum(file.stat().st_size for file in files)
    except OSError as problem:
        raise refused(path, problem) from problem


def _loaded(file: Path) -> tuple[str, Any, Mapping[str, str]]:
    kind = file_format(file)
    if kind == "safetensors":
        require_no_features(file, read_metadata(file))
        return kind, *read_tensors(file)
    return kind, load_torch_file(file, archive=kind == "zip"), {}


def _default_prefix(tensors: Mapping[str, Tensor]) -> str:
    """Return the longest prefix that all tensors share, or nearly all."""
    # The longest prefix first: `module.model.` before `module.`.
    for prefix in reversed(prefix_chain(tensors)):
        if sum(name.startswith(prefix) for name in tensors) >= _CLEAR_MAJORITY * len(tensors):
            return prefix
    return ""


def _brief(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"tensor {tuple(value.shape)}" if value.dim() else f"{value.item():g}"
    if isinstance(value, UnusableTensor):
        return printable(f"tensor, {value.kind}")
    if isinstance(value, np.ndarray):
        return f"numpy array {value.shape}"
    if isinstance(value, np.generic):
        return printable(f"numpy {value.dtype.name.rstrip(digits)} {value!s}", longest=_BRIEF)
    if isinstance(value, Placeholder | GlobalName):
        return printable(value.kind)
    if isinstance(value, int) and value.bit_length() > _LONGEST_INT:
        return "a number of many digits"
    if isinstance(value, str | int | float | bool | date | PurePath | None):
        return printable(str(value), longest=_BRIEF)
    return (
        f"{type(value).__name__} of {len(value)}"
        if hasattr(value, "__len__")
        else (type(value).__name__)
    )
