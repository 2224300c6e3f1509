"""Gains of a calibration beside the weights: a temperature of predictions, and neighbors."""

from torch import nn

from covtool.backbones.device import resolve_device
from covtool.conversion.calibrating import CalibrationImages
from covtool.conversion.operating import Operated
from covtool.conversion.records import Job
from covtool.evaluation.classification.held_out import note_on_temperature, score_spec
from covtool.evaluation.features.extractor import FeatureExtractor
from covtool.evaluation.features.keeping import KeptSource, keep_neighbors_
from covtool.specs import FeatureSpec, Recipe
from covtool.surgery.calibrated import CalibrationResult


def with_scores(
    recipe: Recipe, calibration: CalibrationResult | None, operated: Operated
) -> tuple[Recipe, tuple[str, ...]]:
    """Return a recipe with the temperature of predictions, and notes on it.

    Args:
        recipe: Recipe of the result, with its provenance.
        calibration: Calibration of its head; None without one.
        operated: The operations.
    """
    if calibration is None:
        return recipe, ()
    eigenlayer = operated.eigenlayer
    if eigenlayer is not None and not eigenlayer.keeps_logits:
        note = "No temperature of predictions is chosen: the Eigenlayer changes the logits."
        return recipe, (note,)
    scores = score_spec(calibration.predictions, "leave-one-out", f"{recipe.provenance.data} train")
    note = note_on_temperature(scores)
    return recipe.model_copy(update={"scores": scores}), () if note is None else (note,)


def keep_neighbors_of_calibration_(model: nn.Module, images: CalibrationImages, job: Job) -> None:
    """Put the embeddings of the calibration images on a finished model, which has its recipe.

    The model is on the CPU again afterwards.
    """
    request, processes = job.request, job.processes
    extractor = FeatureExtractor.of(
        model,
        model.recipe.input,
        FeatureSpec(),
        batch_size=request.batch_size,
        workers=request.workers,
        device=resolve_device(request.device, processes),
        processes=processes,
    )
    source = KeptSource(
        name=f"{images.layout.name} train",
        folder=images.layout.folder,
        class_names=images.layout.class_names,
    )
    keep_neighbors_(extractor, images.good, source, track=job.track)
    model.cpu()
