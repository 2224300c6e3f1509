"""Training embeddings beside the tensors of a model, in its file and on the model.

They have names of their own in the file, and are no part of the model: its state dict stays what
timm or torchvision makes of it.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from covtool.checkpoints.kept_images import KeptImages, kept_images_of
from covtool.errors import CheckpointError, SaveError, ShapeError
from covtool.ops.neighbors import Neighbors
from covtool.specs import Recipe

PREFIX = "covtool.neighbors."
"""Start of the tensors' names in a file."""
IMAGES = "images"
"""Name of the tensor that says what the embeddings are of; files without it are read as well."""


def split_tensors(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of a model, and those of kept embeddings, from a covtool file's."""
    kept = {name: tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
    return {name: tensor for name, tensor in tensors.items() if name not in kept}, kept


def attach_neighbors_(
    model: nn.Module, recipe: Recipe, kept: Mapping[str, Tensor], path: object
) -> None:
    """Put kept embeddings on a model, as ``.neighbors``; None where its file keeps none.

    What they are of becomes ``.neighbor_images``; None where the file does not say.

    Args:
        model: Model of `recipe`.
        recipe: Recipe that says what the embeddings are.
        kept: Their tensors, by their names in the file.
        path: File that they are from, for the error.

    Raises:
        CheckpointError: The recipe and the tensors do not agree.
    """
    model.neighbors = model.neighbor_images = None
    if recipe.neighbors is None and not kept:
        return
    tensors = {name.removeprefix(PREFIX): tensor for name, tensor in kept.items()}
    packed = tensors.pop(IMAGES, None)
    try:
        neighbors = Neighbors.from_tensors(tensors)
        _require_agreement(model, recipe, neighbors)
        images = None if packed is None else KeptImages.from_tensor(packed)
        if images is not None and len(images) != len(neighbors):
            raise ShapeError(f"There are names of {len(images)}, and {len(neighbors)} of them.")
    except ShapeError as problem:
        raise CheckpointError(
            f"The training embeddings in {path} do not fit its recipe.",
            reason=problem.message,
            hint="The file is damaged, or something else has written into it.",
        ) from problem
    model.neighbors, model.neighbor_images = neighbors, images


def neighbors_of(model: nn.Module) -> Neighbors | None:
    """Return the training embeddings that belong to a model; None without any."""
    recipe = getattr(model, "recipe", None)
    # The recipe decides: who changes weights drops its word, and the embeddings are of no use.
    is_kept = recipe is not None and recipe.neighbors is not None
    return getattr(model, "neighbors", None) if is_kept else None


def tensors_of_neighbors(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors to keep in a model's file beside its own.

    Raises:
        SaveError: The recipe speaks of embeddings, and the model has none.
    """
    neighbors = neighbors_of(model)
    if neighbors is not None:
        tensors = dict(neighbors.tensors)
        images = kept_images_of(model)
        if images is not None:
            tensors[IMAGES] = images.packed
        return {f"{PREFIX}{name}": tensor for name, tensor in tensors.items()}
    if model.recipe.neighbors is not None:
        raise SaveError(
            "The model's recipe says that its file keeps training embeddings, and it has none.",
            hint="Set `neighbors` of the recipe to None, or load the model from its file.",
        )
    return {}


def _require_agreement(model: nn.Module, recipe: Recipe, neighbors: Neighbors) -> None:
    said = recipe.neighbors
    if said is None:
        raise ShapeError("The recipe does not speak of any.")
    if said.images != len(neighbors):
        raise ShapeError(f"The recipe says {said.images}, and there are {len(neighbors)}.")
    modules = dict(model.named_modules())
    fed = getattr(modules.get(said.layer), "in_features", None)
    if fed != neighbors.num_features:
        raise ShapeError(
            f"They have {neighbors.num_features} features, and {said.layer!r} of the model takes "
            f"{fed or 'none'}."
        )
