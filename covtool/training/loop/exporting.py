"""The trained model as a covtool file, with what was done and measured in its recipe."""

from pathlib import Path

from covtool import __version__
from covtool.checkpoints.model_file import save
from covtool.checkpoints.verifying import reopened, require_same_answers
from covtool.specs import FinetuneRequest, Metric, Recipe
from covtool.training.parts.assembly import Parts
from covtool.training.run.records import EpochResult

# Tolerances of logits. A file has contiguous tensors, a trained model may have channels-last ones:
# sums are formed in another order.
_ON_CPU = 1e-4
_ELSEWHERE = 2e-2  # with TensorFloat-32, whose kernels depend on the layout


def export(
    parts: Parts,
    path: Path,
    *,
    data: tuple[str, str],
    epochs: int,
    epoch: int,
    result: EpochResult | None,
) -> Path:
    """Write what is evaluated: the model, or its moving average. The file is opened and tried.

    Args:
        parts: Parts of the run.
        path: File to write or replace.
        data: Names of the data set and of its validation split.
        epochs: Number of epochs trained so far.
        epoch: Epoch, counted from 0, whose head the model has, and whose phase it is in.
        result: Measurement of exactly these weights; None where nothing was measured.

    Raises:
        SaveError: It cannot be written.
        VerificationError: It does not open, or answers differently.
    """
    model = parts.evaluated
    phase = parts.phases.at(epoch).label
    # Of that epoch: a head schedule may have another head ready for the next one.
    recipe = parts.recipe_at(epoch)
    model.recipe = trained_recipe(
        recipe, data, result, line=_line(parts.request, data[0], epochs, phase)
    )
    tolerance = _ON_CPU if parts.device.type == "cpu" else _ELSEWHERE
    return save(
        model,
        path,
        overwrite=True,
        verify=lambda written: require_same_answers(reopened(written), model, tolerance=tolerance),
    )


def trained_recipe(
    recipe: Recipe, data: tuple[str, str], result: EpochResult | None, *, line: str
) -> Recipe:
    """Return the recipe of a model after training, with a line for its history."""
    provenance = recipe.provenance.model_copy(
        update={
            "covtool_version": __version__,
            "history": (*recipe.provenance.history, line),
            "data": data[0],
            "metrics": () if result is None else _metrics(result, " ".join(data)),
            "untrained": (),
        }
    )
    return recipe.model_copy(update={"provenance": provenance})


def _line(request: FinetuneRequest, data: str, epochs: int, phase: str) -> str:
    training, objective = request.training, request.objective
    loss = f", loss {objective.loss}" if objective.loss != "ce" else ""
    sampler = f", sampler {objective.sampler}" if objective.sampler != "random" else ""
    kind = f", gradient centralization on the {training.centralized}" if training.gc else ""
    heads = f", heads {training.head_schedule}" if training.head_schedule else ""
    then = "" if request.svdnet is None else request.svdnet.in_words()
    when = f"epoch {epochs} of {training.epochs}" + (f", {phase}" if phase else "")
    return (
        f"{request.command} on {data}{request.layout.in_words()}: {when}, {training.opt}, "
        f"lr {training.lr:g}{then}{loss}{sampler}{kind}{heads}"
    )


def _metrics(result: EpochResult, data: str) -> tuple[Metric, ...]:
    return tuple(
        Metric(name=name, value=value, data=data, images=result.images)
        for name, value in result.figures.items()
    )
