"""The trained model as a covtool file, with what was done and measured in its recipe."""

from pathlib import Path

from covtool import __version__
from covtool.checkpoints.model_file import save
from covtool.checkpoints.verifying import reopened, require_same_answers
from covtool.specs import FinetuneRequest, Metric, Recipe
from covtool.specs.provenance import IterationsRecord, TrainingStep
from covtool.training.loop.scoring import scores_of
from covtool.training.parts.assembly import Parts
from covtool.training.run.records import EpochResult

# Tolerances of logits. A file has contiguous tensors, a trained model may have channels-last ones:
# sums are formed in another order.
_ON_CPU = 1e-4
_ELSEWHERE = 2e-2  # with TensorFloat-32, whose kernels depend on the layout


def export(  # noqa: PLR0913 -- a run, a file, and what is true of the weights
    parts: Parts,
    path: Path,
    *,
    data: tuple[str, str],
    epochs: int,
    epoch: int,
    result: EpochResult | None,
    solved: bool = True,
) -> Path:
    """Write the evaluated model, or its moving average, and verify the file.

    Args:
        parts: Parts of the run.
        path: File to write or replace.
        data: Names of the data set and of its validation split.
        epochs: Number of epochs trained so far.
        epoch: Epoch, counted from 0, whose head the model has, and whose phase it is in.
        result: Measurement of exactly these weights; None where nothing was measured.
        solved: Whether a classifier that is solved anew goes into the file, which then has to be
            that of these weights; else it is the trained one.

    Raises:
        SaveError: It cannot be written.
        VerificationError: It does not open, or answers differently.
    """
    model = parts.evaluated if solved else parts.trained
    phase = parts.phases.at(epoch).label or None  # a run of one phase shows none
    # Of that epoch: a head schedule may have another head ready for the next one.
    recipe = parts.recipe_at(epoch)
    model.recipe = trained_recipe(
        recipe,
        data,
        result,
        step=training_step(
            parts.request, data[0], epochs, phase, resolved=solved and parts.solved is not None
        ),
    )
    tolerance = _ON_CPU if parts.device.type == "cpu" else _ELSEWHERE
    return save(
        model,
        path,
        overwrite=True,
        verify=lambda written: require_same_answers(reopened(written), model, tolerance=tolerance),
    )


def trained_recipe(
    recipe: Recipe, data: tuple[str, str], result: EpochResult | None, *, step: TrainingStep
) -> Recipe:
    """Return the recipe of a model after training, with the step in its history."""
    provenance = recipe.provenance.with_step(
        step,
        covtool_version=__version__,
        data=data[0],
        metrics=() if result is None else _metrics(result, " ".join(data)),
        untrained=(),
    )
    # Weights have changed: what was there before is of others.
    update = {"provenance": provenance, "scores": scores_of(result, data), "neighbors": None}
    return recipe.model_copy(update=update)


def training_step(
    request: FinetuneRequest, data: str, epochs: int, phase: str | None, *, resolved: bool = False
) -> TrainingStep:
    """Return the record of a run for the history of its model.

    Args:
        request: Settings of the run.
        data: Name of the data set.
        epochs: Epochs done.
        phase: Label of the phase that the weights are of; None for a run without.
        resolved: Whether the classifier was solved anew for these weights.
    """
    training, svdnet = request.training, request.svdnet
    iterations = None
    if svdnet is not None:
        iterations = IterationsRecord(rates=svdnet.lrs, changed=svdnet.unpublished())
    return TrainingStep(
        command=request.command,
        data=data,
        layout=request.layout,
        epochs=epochs,
        planned_epochs=training.epochs,
        phase=phase,
        opt=training.opt,
        lr=training.peak_lr,
        iterations=iterations,
        loss=request.objective.loss,
        sampler=request.objective.sampler,
        centralized=training.centralized,
        head_schedule=training.head_schedule or "",
        resolved_head=resolved,
    )


def _metrics(result: EpochResult, data: str) -> tuple[Metric, ...]:
    return tuple(
        Metric(name=name, value=value, data=data, images=result.images)
        for name, value in result.figures.items()
    )
