"""`covtool.predict`: answers for images as records, without a file."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import ValidationError
from torch import nn

from covtool.backbones.device import resolve_device
from covtool.backbones.module_modes import in_eval_mode
from covtool.checkpoints.opened import OpenedModel, require_trained_classifier
from covtool.checkpoints.opening import open_model
from covtool.errors import ArgumentError
from covtool.prediction.image_inputs import find_inputs
from covtool.prediction.predictor import Predictor, scorer_for, transform_for
from covtool.prediction.rows import Prediction, RowLayout
from covtool.prediction.streaming import StreamedImages, chunked, image_batches
from covtool.specs import ModelSource, PredictionSpec, Recipe
from covtool.specs.problems import first_problem

Picture = str | Path | Image.Image


def predict(
    model: nn.Module | OpenedModel | ModelSource | str | Path,
    images: Picture | Sequence[Picture],
    *,
    batch_size: int = 32,
    workers: int = 0,
    device: str | None = None,
    **choice: Any,
) -> tuple[Prediction, ...]:
    """Return a classifier's answers for images, prepared as an evaluation prepares them.

    An image that cannot be read has a record with the reason in `Prediction.error`.

    Args:
        model: A model of `covtool.load` or `covtool.open_model`, or what names one.
        images: Images, folders, lists and patterns, as on the command line, and pictures of Pillow;
            one or several.
        batch_size: Images per batch.
        workers: Processes that prepare images, at most; 0 for this process.
        device: Device that the model runs on, and is left on; None for where a model is, and for
            the best there is where a name is given.
        **choice: Fields of `PredictionSpec`: ``top_k=5``, ``threshold=0.5``, ``tta="flip"``.

    Raises:
        ArgumentError: The model has no recipe, a choice is not valid, or distances are asked for of
            a file that keeps no embeddings.
        CheckpointError: The model cannot be opened, or its classifier is random.
        DataError: An argument stands for no image.
        NonFiniteError: An answer is not made of finite numbers.

    Example:
        >>> answers = covtool.predict("net.safetensors", "photos/", top_k=1)  # doctest: +SKIP
        >>> answers[0].classes  # doctest: +SKIP
        ('Audi TT',)
    """
    spec = _spec(choice)
    several = images if isinstance(images, list | tuple) else [images]
    inputs = find_inputs(several)
    network, recipe, name = _opened(model)
    require_trained_classifier(name, recipe)
    is_module = isinstance(model, nn.Module | OpenedModel) and device is None
    place = next(network.parameters()).device if is_module else resolve_device(device or "auto")
    names = recipe.class_names or tuple(map(str, range(recipe.num_classes)))
    scorer = scorer_for(network, spec)
    layout = RowLayout(names=names, spec=spec, has_distance=scorer is not None)
    predictor = Predictor(
        model=network.to(place), recipe=recipe, spec=spec, device=place, scorer=scorer
    )
    dataset = StreamedImages(inputs.records, recipe.input, transform_for(recipe, spec))
    count = None if inputs.count is None else -(-inputs.count // batch_size)
    batches = image_batches(dataset, chunked(inputs, batch_size), count=count, workers=workers)
    with in_eval_mode(network), scorer or nullcontext():
        return tuple(one for batch in batches for one in layout.predictions(predictor(batch)))


def _spec(choice: dict[str, Any]) -> PredictionSpec:
    try:
        spec = PredictionSpec(**choice)
    except ValidationError as problem:
        raise ArgumentError(f"A choice of answers is not valid: {first_problem(problem)}.") from (
            problem
        )
    spec.validate_fields()
    return spec


def _opened(
    model: nn.Module | OpenedModel | ModelSource | str | Path,
) -> tuple[nn.Module, Recipe, str]:
    """Return the network, its recipe and its name."""
    if isinstance(model, nn.Module):
        recipe = getattr(model, "recipe", None)
        if not isinstance(recipe, Recipe):
            raise ArgumentError(
                "The model has no recipe, which says how its images are prepared.",
                hint="Open it with covtool.load or covtool.open_model.",
            )
        return model, recipe, "The model"
    opened = model if isinstance(model, OpenedModel) else open_model(model)
    named = not isinstance(model, OpenedModel)
    return opened.model, opened.recipe, ModelSource.of(model).name if named else "The model"
