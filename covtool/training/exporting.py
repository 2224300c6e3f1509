"""The trained model as a covtool file, with what was done and measured in its recipe."""

from pathlib import Path

from covtool import __version__
from covtool.checkpoints.model_file import save
from covtool.evaluation.classification import ClassificationResult
from covtool.specs import FinetuneRequest, Metric, Recipe
from covtool.training.assembly import Parts


def export(
    parts: Parts,
    path: Path,
    *,
    data: tuple[str, str],
    epochs: int,
    epoch: int,
    result: ClassificationResult | None,
) -> Path:
    """Write what is evaluated: the model, or its moving average.

    Args:
        parts: The run.
        path: To write or replace.
        data: Names of the data set and of its validation split.
        epochs: Trained so far.
        epoch: The one, counted from 0, whose head the model has.
        result: Measured on exactly these weights; None where nothing was.
    """
    model = parts.evaluated
    model.recipe = trained_recipe(parts.recipe_at(epoch), parts.request, data, epochs, result)
    return save(model, path, overwrite=True)


def trained_recipe(
    recipe: Recipe,
    request: FinetuneRequest,
    data: tuple[str, str],
    epochs: int,
    result: ClassificationResult | None,
) -> Recipe:
    """The recipe of a model after training."""
    provenance = recipe.provenance.model_copy(
        update={
            "covtool_version": __version__,
            "history": (*recipe.provenance.history, _line(request, data[0], epochs)),
            "data": data[0],
            "metrics": () if result is None else _metrics(result, " ".join(data)),
        }
    )
    return recipe.model_copy(update={"provenance": provenance})


def _line(request: FinetuneRequest, data: str, epochs: int) -> str:
    training, objective = request.training, request.objective
    loss = f", loss {objective.loss}" if objective.loss != "ce" else ""
    sampler = f", sampler {objective.sampler}" if objective.sampler != "random" else ""
    kind = f", gradient centralization on the {training.centralized}" if training.gc else ""
    heads = f", heads {training.head_schedule}" if training.head_schedule else ""
    return (
        f"finetune on {data}: epoch {epochs} of {training.epochs}, {training.opt}, "
        f"lr {training.lr:g}{loss}{sampler}{kind}{heads}"
    )


def _metrics(result: ClassificationResult, data: str) -> tuple[Metric, ...]:
    values = {"top_1": result.top_1, "top_5": result.top_5, "loss": result.loss}
    return tuple(
        Metric(name=name, value=value, data=data, images=result.images)
        for name, value in values.items()
        if value is not None
    )
