"""Several models of one structure, averaged into one file."""

from pathlib import Path

import torch
from torch import nn

from covtool.atomic import require_model_name, require_room, require_writable
from covtool.averaging.batch_norms import batch_norms, estimate_statistics_, training_batches
from covtool.averaging.choosing import Chosen, all_models, greedy_soup, point_of_line
from covtool.averaging.measuring import LabeledImages
from covtool.averaging.notes import notes_on
from covtool.averaging.recipes import averaged_recipe
from covtool.averaging.records import AverageRequest, AverageResult, require_weights
from covtool.averaging.sources import Opener, resolved
from covtool.backbones.device import resolve_device
from covtool.checkpoints.finite import require_finite
from covtool.checkpoints.model_file import save, size_in_file
from covtool.checkpoints.verifying import reopened, require_same_answers
from covtool.errors import ArgumentError
from covtool.progress import Track, silent
from covtool.specs.provenance import AverageStep
from covtool.surgery.describing import attach_recipe


def average(request: AverageRequest, *, track: Track = silent) -> AverageResult:
    """Average the weights of several models and write one self-describing file.

    Weights are summed in float64, one model at a time, and cast back. The file is opened again
    before it gets its name, and must answer like the model in memory.

    Raises:
        ArgumentError: The request contradicts itself, or the output cannot be written.
        OutputExistsError: The output exists.
        CheckpointError: A model cannot be opened, has a random classifier, or is of another
            structure than the first.
        DataError: Images cannot be used, or there are none to choose by.
        NonFiniteError: The logits of a model are not numbers.
        VerificationError: The file does not hold what it should; it is removed.
    """
    request.validate()
    require_model_name(request.output)
    require_writable(request.output, overwrite=request.overwrite)  # before hours of work
    device = resolve_device(request.device)
    given = request.between or resolved(request.models)
    if request.between is None:
        require_weights(request.weights, len(given))
    images = None if request.data is None else LabeledImages.of(request, device, track)
    opener = Opener(given, track)
    chosen = _chosen(given, request, opener, images)
    require_room(request.output, size_in_file(chosen.model))
    statistics = _with_statistics_(chosen, request, device, track)
    measured = chosen.measured
    if images is not None and (measured is None or statistics is not None):
        measured = images.measure(chosen.model, chosen.shares[0][0].recipe)
    recipe = averaged_recipe(chosen, request, measured=measured, statistics=statistics)
    attach_recipe(chosen.model, recipe)
    _save(chosen.model, request)
    (step,) = (step for step in recipe.provenance.steps[-1:] if isinstance(step, AverageStep))
    of_images = () if images is None else images.notes(recipe)
    return AverageResult(
        path=request.output,
        method=chosen.method,
        sources=step.sources,
        left_out=step.left_out,
        points=chosen.points,
        measured=measured,
        statistics_of=statistics,
        device=str(device),
        unreadable=() if images is None else tuple(images.unreadable.items()),
        notes=(*notes_on(chosen, request, opener), *of_images),
        recipe=recipe,
    )


def _chosen(
    given: tuple[str, ...], request: AverageRequest, opener: Opener, images: LabeledImages | None
) -> Chosen:
    measure = None if images is None else images.measure
    if request.between is not None:
        return point_of_line(request, opener, measure)
    if request.greedy:
        return greedy_soup(given, opener, measure)
    return all_models(given, request, opener, measure)


def _with_statistics_(
    chosen: Chosen, request: AverageRequest, device: torch.device, track: Track
) -> str | None:
    """Estimate batch norms anew where that is asked for; return the name of the data."""
    if request.bn_data is None:
        return None
    if not batch_norms(chosen.model):
        raise ArgumentError(
            "The network has no batch norms, so that --bn-data has no effect.",
            hint="Leave it out.",
        )
    recipe = chosen.shares[0][0].recipe
    loader, name = training_batches(request, recipe, device, track)
    dtype = next(chosen.model.parameters()).dtype
    # Images are in float32, and statistics of half-precision activations would be coarse.
    estimate_statistics_(chosen.model.float(), loader, device=device, track=track).to(dtype)
    return name


def _save(model: nn.Module, request: AverageRequest) -> None:
    require_finite(model, "The average")

    def verify(path: Path) -> None:
        require_same_answers(reopened(path), model)

    save(model, request.output, overwrite=request.overwrite, verify=verify)
