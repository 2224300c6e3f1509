"""covtool's own file: safetensors with the recipe in its metadata.

The structure is rebuilt from the recipe and from nothing else: no pickle, no import named by the
file. A file appears whole or not at all.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from covtool.atomic import require_free, require_model_name, written_whole
from covtool.backbones.weights import load_tensors_
from covtool.checkpoints.kept_neighbors import (
    attach_neighbors_,
    split_tensors,
    tensors_of_neighbors,
)
from covtool.checkpoints.room import require_room_for_images
from covtool.checkpoints.tensor_checksum import CHECKSUM_KEY, checksum
from covtool.checkpoints.tensor_files import read_metadata, read_tensors, sort_metadata_
from covtool.errors import (
    ArgumentError,
    CheckpointError,
    SaveError,
    VerificationError,
    reason_of,
)
from covtool.printable import printable
from covtool.specs import Recipe
from covtool.specs.recipe_reading import recipe_of_json
from covtool.surgery.describing import attach_recipe
from covtool.surgery.rebuild import Blueprint, blueprint

RECIPE_KEY = "covtool.recipe"

# What a model's own reading of a state dict makes of tensors that are not its.
_MISFITS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError)


def is_covtool_file(path: str | Path) -> bool:
    """Return whether a file is safetensors with a covtool recipe in it."""
    try:
        return RECIPE_KEY in read_metadata(path)
    except CheckpointError:
        return False


def read_recipe(path: str | Path) -> Recipe:
    """Return the recipe in a covtool file, validated.

    Raises:
        CheckpointError: The file holds none, or one that this version does not understand.
    """
    text = read_metadata(path).get(RECIPE_KEY)
    if text is None:
        raise CheckpointError(f"{path} has no covtool recipe in it.")
    try:
        return recipe_of_json(text)
    except ValueError as problem:
        raise CheckpointError(
            f"The recipe in {path} is not one that this version of covtool understands.",
            reason=reason_of(problem),
            hint="Was the file written by a newer version? Update covtool.",
        ) from problem


def load(path: str | Path) -> nn.Module:
    """Return the model in a covtool file, in eval mode on the CPU, with its recipe as ``.recipe``.

    Raises:
        CheckpointError: The file is not a covtool file, its tensors do not fit its recipe, or they
            are not those that were written.
    """
    return assemble(read_recipe(path), read_tensors(path)[0], path)


def assemble(recipe: Recipe, tensors: Mapping[str, Tensor], path: Path | str) -> nn.Module:
    """Return the model of a recipe with given weights, in eval mode on the CPU.

    Args:
        recipe: Recipe of the model; afterwards its ``.recipe``.
        tensors: Its state dict, and perhaps training embeddings; afterwards its ``.neighbors``.
        path: Origin of the tensors, for the error.

    Raises:
        CheckpointError: The tensors do not fit the recipe, or it cannot be followed.
    """
    tensors, kept = split_tensors(tensors)
    followed = blueprint(recipe)
    _require_images(followed, path)
    try:
        # Looked at before there is a model: a small file may speak of a large one.
        _require_kinds(followed.skeleton, tensors)
        load_tensors_(followed.skeleton, tensors, assign=True)
        model = followed.build()
        load_tensors_(model, tensors)
    except _MISFITS as problem:
        raise CheckpointError(
            f"The tensors in {path} do not fit its recipe.",
            reason=printable((str(problem).splitlines() or [type(problem).__name__])[-1].strip()),
            hint="The file is damaged, or the installed timm builds this architecture differently.",
        ) from problem
    # The model was built in float32, and loading copied into that.
    _take_dtype(model, tensors)
    attach_recipe(model, recipe)
    attach_neighbors_(model, recipe, kept, path)
    return model


def _require_images(followed: Blueprint, path: Path | str) -> None:
    """Refuse a model that does not run on the images of its recipe, or not in this memory."""
    try:
        require_room_for_images(followed.skeleton, followed.recipe, f"The model in {path}")
    except ArgumentError as problem:
        raise CheckpointError(
            f"The recipe in {path} says images that its model does not take.",
            reason=f"{problem.message} {problem.reason}",
        ) from problem


def _require_kinds(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Refuse whole numbers where the model has weights: torch would copy them without a word."""
    for name, own in model.state_dict().items():
        given = tensors.get(name, own)
        if given.is_floating_point() != own.is_floating_point():
            raise TypeError(f"{name} is of {given.dtype}, not of {own.dtype}.")


def save(
    model: nn.Module,
    path: str | Path,
    *,
    overwrite: bool = False,
    verify: Callable[[Path], None] | None = None,
) -> Path:
    """Write a model and its recipe, whole or not at all.

    Args:
        model: Model with a `covtool.specs.Recipe` as ``.recipe``, and training embeddings as
            ``.neighbors`` where that speaks of some.
        path: File to write, which ends in .safetensors; its folder must exist.
        overwrite: Replace an existing file.
        verify: Called with the written file before it gets its name; raises if it is not right.

    Raises:
        ArgumentError: `path` has another suffix, leads to something else than a file, or its folder
            is not there.
        OutputExistsError: `path` exists and `overwrite` is False.
        SaveError: The disk is full, say.
        VerificationError: What was written does not read back the same.
    """
    path = Path(path)
    require_model_name(path)
    if getattr(model, "recipe", None) is None:
        raise SaveError(
            f"{type(model).__name__} has no recipe: a file of it could not be rebuilt.",
            reason="It was not opened by covtool, or reset_classifier took its pooling out.",
            hint="Save its state_dict(), or convert a checkpoint anew.",
        )
    require_free(path, overwrite=overwrite)
    together = {**model.state_dict(), **tensors_of_neighbors(model)}
    tensors = {name: _plain(tensor) for name, tensor in together.items()}
    metadata = {RECIPE_KEY: json.dumps(model.recipe.model_dump(mode="json"))}
    metadata[CHECKSUM_KEY] = checksum(tensors)
    try:
        with written_whole(path, overwrite=overwrite) as temporary:
            save_file(tensors, temporary, metadata=metadata)
            sort_metadata_(temporary)
            _read_back(temporary, tensors)
            if verify is not None:
                verify(temporary)
    except SafetensorError as problem:  # its word for a disk that is full
        raise SaveError.of(path, _systems_word(problem)) from problem
    return path


def size_in_file(model: nn.Module) -> int:
    """Return the bytes that the tensors of a model take in a file."""
    return sum(tensor.nbytes for tensor in model.state_dict().values())


def _systems_word(problem: SafetensorError) -> Exception:
    """Return the system's error, whose number safetensors gives in its text only."""
    number = re.search(r"\(os error (\d+)\)", str(problem))
    return problem if number is None else OSError(int(number[1]), os.strerror(int(number[1])))


def _plain(tensor: Tensor) -> Tensor:
    """Return a tensor of its own, contiguous and in NCHW, as safetensors wants it."""
    # Cloned even if contiguous: safetensors refuses tensors that share their memory.
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _read_back(path: Path, tensors: dict[str, Tensor]) -> None:
    written = load_file(path)
    for name, tensor in tensors.items():
        # Compared as bytes: a tensor with NaN in it is still the same tensor.
        same = name in written and _bytes(written[name]) == _bytes(tensor)
        if not same:
            raise VerificationError(f"{name!r} did not read back as it was written to {path}.")


def _bytes(tensor: Tensor) -> bytes:
    return tensor.flatten().view(torch.uint8).numpy().tobytes()


def _take_dtype(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    # A model of several dtypes stays float32: there is no single one to take.
    dtypes = {t.dtype for n, t in tensors.items() if t.is_floating_point()}
    if len(dtypes) == 1:
        model.to(dtypes.pop())
