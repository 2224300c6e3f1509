"""Checkpoints as other programs write them, read as named tensors and nothing else."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from pathlib import Path, PurePath
from string import digits
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import Tensor

from covtool.checkpoints.containers import find_content, prefix_chain
from covtool.checkpoints.file_kinds import damaged, file_format
from covtool.checkpoints.model_file import RECIPE_KEY
from covtool.checkpoints.own_runs import SavedState, saved_state
from covtool.checkpoints.pickles import GlobalName, Placeholder, UnusableTensor, plain
from covtool.checkpoints.shards import shards_of, weights_file
from covtool.checkpoints.told import Told, told_by
from covtool.checkpoints.unpickling import load_torch_file
from covtool.errors import CheckpointError
from covtool.printable import printable

_CLEAR_MAJORITY = 0.6
_BRIEF = 60  # characters of a value


@dataclass(frozen=True, kw_only=True)
class ForeignCheckpoint:
    """The tensors of a checkpoint, and where they were in it.

    Attributes:
        path: The file.
        format: ``zip`` (torch.save), ``legacy`` (before torch 1.6), ``safetensors``, ``covtool``.
        container: Entries on the way to the tensors; None where the file is a state dict.
        is_ema: Whether they are an exponential moving average.
        tensors: All of them, under their names in the container.
        prefix: What was taken off the names.
        others: What else is at the top of the file, each in a few characters.
        recipe: The raw recipe of a covtool file, or None.
        beside: Tensors of other entries, which may belong to the model.
        unused: Names of tensors that were found to belong to something else; None where everything
            outside the prefix does.
        told: What the file, its name and its folder say about it.
        notes: What was chosen, in sentences.
        saved: What it says about itself, if it is a state of one of covtool's own runs.
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
    told: Told = field(default_factory=Told)
    notes: tuple[str, ...] = ()
    saved: SavedState | None = None

    @property
    def told_architecture(self) -> str | None:
        """The architecture's name, where the content of the file or a configuration says it."""
        return self.told.written_architecture

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
        """Of the file, in hexadecimal; read when first asked for."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def with_prefix(self, prefix: str) -> "ForeignCheckpoint":
        """The same file with another prefix taken off."""
        return self if prefix == self.prefix else replace(self, prefix=prefix)

    def using(self, prefix: str, unused: tuple[str, ...]) -> "ForeignCheckpoint":
        """The same file, of which the tensors behind a prefix are used but for some."""
        return replace(self, prefix=prefix, unused=unused)

    def readings(self) -> tuple["ForeignCheckpoint", ...]:
        """Every plausible prefix, the longest first, none at all last."""
        return tuple(self.with_prefix(p) for p in reversed(prefix_chain(self.tensors)))


def read_checkpoint(path: str | Path, *, weights: str = "auto") -> ForeignCheckpoint:
    """Read the tensors of a checkpoint of any common format; no code of the file is run.

    Args:
        path: The file, whose content decides about the format, not its name; the index of several,
            or one of them, for all; or a folder of the Hugging Face Hub.
        weights: ``ema`` or ``raw``, where a file has both; ``auto`` prefers the average. Or the
            name of an entry, or a part of the tensors' names: ``student``, ``encoder_k``.

    Raises:
        UnsafeCheckpointError: The file needs more classes than tensors need.
        CheckpointError: There is no such file, it is no checkpoint, damaged, has no usable
            tensors, or has several networks of which one must be chosen.
        ArgumentError: Nothing in the file is called `weights`.
    """
    path = weights_file(Path(path))
    kind, loaded, metadata = _load(path)
    content = find_content(path, loaded, weights)
    tensors = {str(k): v for k, v in content.entries.items() if isinstance(v, Tensor)}
    _require_plain(path, content.entries)
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
        notes=content.notes,
        told=Told() if saved or RECIPE_KEY in metadata else told_by(path, plain(loaded), metadata),
        saved=saved,
    )


def _load(path: Path) -> tuple[str, Any, dict[str, str]]:
    """The format, content and metadata of a file, or of all shards of the weights in it."""
    files = shards_of(path) or (path,)
    kind = file_format(files[0])
    merged: dict[str, Any] = {}
    for file in files:
        if file_format(file) == "safetensors":
            loaded, metadata = _load_safetensors(file)
        else:
            loaded, metadata = load_torch_file(file, archive=file_format(file) == "zip"), {}
        if len(files) == 1:
            return kind, loaded, metadata
        merged |= loaded if isinstance(loaded, Mapping) else {}
    return kind, merged, {}


def _load_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118 -- not a mapping
    except (SafetensorError, OSError, RuntimeError) as problem:
        raise damaged(path, str(problem).splitlines()[0]) from problem


def _require_plain(path: Path, entries: Mapping[str, Any]) -> None:
    for name, tensor in entries.items():
        if isinstance(tensor, UnusableTensor):
            kind = tensor.kind
        elif not isinstance(tensor, Tensor):
            continue
        elif tensor.is_complex():
            kind = f"complex ({_word(tensor.dtype)})"
        elif _looks_quantized(str(name), tensor):
            kind = f"quantized ({_word(tensor.dtype)})"
        else:
            continue
        raise CheckpointError(
            f"{path} has tensors that covtool cannot use.",
            reason=f"{printable(str(name))!r} is {printable(kind)}; "
            "covtool works on dense floating-point weights.",
            hint="Give the checkpoint in floating point, from before it was changed.",
        )


def _looks_quantized(name: str, tensor: Tensor) -> bool:
    """Whole numbers where a layer has its weights."""
    is_weight = name.rpartition(".")[2] in ("weight", "qweight")
    return is_weight and tensor.dim() > 1 and not tensor.is_floating_point()


def _default_prefix(tensors: Mapping[str, Tensor]) -> str:
    """The longest prefix that all tensors share, or nearly all."""
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
    if isinstance(value, str | int | float | bool | date | PurePath | None):
        return printable(str(value), longest=_BRIEF)
    return (
        f"{type(value).__name__} of {len(value)}"
        if hasattr(value, "__len__")
        else (type(value).__name__)
    )


def _word(value: Any) -> str:
    return str(value).removeprefix("torch.")
