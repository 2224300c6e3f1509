"""Settings of a run that are left open until its model is known."""

from covtool.data.datasets.layout import DataLayout
from covtool.specs import ConvolutionSpec, FinetuneRequest, Recipe
from covtool.specs.svdnet import BASE_EPOCHS
from covtool.specs.training_history import has_solved_head, was_trained
from covtool.surgery.operations import of_kind

TOP, OF_SEARCH = "top1", ("rank1", "mAP")
"""The usual metric of ``--eval-metric``, and those of a search, the one in its place first."""


def resolve_for_model(
    request: FinetuneRequest, recipe: Recipe, layout: DataLayout
) -> FinetuneRequest:
    """Fill in the defaults that depend on the model: its statistics, the phases of its training.

    Raises:
        ArgumentError: The phases, or the rates, and other settings contradict each other.
    """
    if layout.searched is not None and request.training.eval_metric == TOP:
        # Of a search, the first image found is what a classifier's first class is.
        training = request.training.model_copy(update={"eval_metric": OF_SEARCH[0]})
        request = request.model_copy(update={"training": training})
    return with_phases(with_head(with_statistics(request, recipe), recipe), recipe, layout)


def with_phases(request: FinetuneRequest, recipe: Recipe, layout: DataLayout) -> FinetuneRequest:
    """Return the request with the length of step 0, and so of the run.

    An Eigenlayer and a classifier that were trained together need none.

    Raises:
        ArgumentError: Other settings contradict these lengths.
    """
    if request.svdnet is None:
        return request
    kept = not request.new_classifier and recipe.num_classes == len(layout.class_names)
    trained = kept and was_trained(recipe.provenance.steps, since_eigenlayer=True)
    svdnet = request.svdnet.with_base_epochs(0 if trained else BASE_EPOCHS)
    request.training.validate_phases(svdnet)
    training = request.training.in_phases(svdnet)
    return request.model_copy(update={"svdnet": svdnet, "training": training})


def with_statistics(request: FinetuneRequest, recipe: Recipe) -> FinetuneRequest:
    """Return the request with `bn_stats` set: statistics that fit no features are trained."""
    operators = of_kind(recipe.operations, ConvolutionSpec)
    trained = was_trained(recipe.provenance.steps)
    fresh = request.from_scratch or any(
        not (trained or spec.calibrated or spec.is_convolution) for spec in operators
    )
    training = request.training.with_statistics("train" if fresh else "keep")
    return request.model_copy(update={"training": training})


def with_head(request: FinetuneRequest, recipe: Recipe) -> FinetuneRequest:
    """Return the request with `resolve_head` set, and the learning rates that depend on it.

    A calibrated head is solved anew until it was trained without. A classifier that starts at
    random is trained.

    Raises:
        ArgumentError: Another setting contradicts these rates.
    """
    trains_classifier = request.svdnet is None and request.objective.needs("logits")
    kept = not request.new_classifier and request.init_from is None
    on = trains_classifier and kept and has_solved_head(recipe.provenance.steps)
    training = request.training.with_resolved_head("on" if on else "off").with_rates()
    if request.svdnet is None:  # whose settings are checked with its phases
        training.validate_fields()
    return request.model_copy(update={"training": training})
