"""Preparation of a run, new or resumed: defaults, data set, model, parts, random numbers."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from covtool.checkpoints.opened import OpenedModel
from covtool.checkpoints.opening import open_model
from covtool.checkpoints.places import is_there, stem_of
from covtool.checkpoints.run_models import run_named
from covtool.data.datasets.folding import FoldedData, fold_data
from covtool.data.datasets.layout import DataLayout, in_order_of, require_trainable
from covtool.data.datasets.places import record_source
from covtool.data.datasets.retrieval.reading import read_classes, read_retrieval
from covtool.data.datasets.retrieval.report import report_on, require_searchable
from covtool.data.datasets.retrieval.training import searching_layout
from covtool.errors import ArgumentError
from covtool.full_paths import in_full
from covtool.ops.decorrelation import require_scipy
from covtool.processes import Processes
from covtool.specs import FinetuneRequest
from covtool.training.loop.validate import require_room_to_search
from covtool.training.parts.assembly import Parts, TrainingData, assemble
from covtool.training.parts.head import find_head, fit_classes_
from covtool.training.parts.single_output import require_logits
from covtool.training.run.observer import Observer
from covtool.training.run.tensorboard import refuse_without_package
from covtool.training.run.trackers import refuse_without_trackers
from covtool.training.start.images import load_data
from covtool.training.start.initial_weights import load_initial_, open_initial
from covtool.training.start.model_defaults import OF_SEARCH, TOP

RESOLVED = (
    "The classifier is solved anew by ridge regression before each evaluation, and the exported "
    "models have it; --resolve-head off keeps the trained one."
)


def resolve_defaults(request: FinetuneRequest, processes: Processes) -> FinetuneRequest:
    """Fill in the defaults that are known before the model is opened; paths become absolute.

    Args:
        request: Request as it was made.
        processes: Processes that were started, whatever number the request has.
    """
    request.validate_fields()
    refuse_without_package(request.training)
    refuse_without_trackers(request.training)
    svdnet, training = request.svdnet, request.training
    # Now, and not after hours, at the first decorrelation.
    if svdnet is not None and svdnet.assignment == "optimal":
        require_scipy()
    if svdnet is None:
        training = training.resolved()
    elif svdnet.base_epochs is not None:
        training = training.in_phases(svdnet)
    return request.model_copy(
        update={
            "model": _absolute(request.model),
            "init_from": _absolute(request.init_from),
            "data": str(record_source(request.data) or in_full(request.data)),
            "training": training,
            # The launcher decides: a request may have been made for another number.
            "processes": request.processes.model_copy(update={"nproc": processes.local_world}),
        }
    )


def _absolute(name: str | None) -> str | None:
    """Return a path in full; a name that is not a path stays as it is."""
    if name is None:
        return None
    run, choice = run_named(name)
    if run is not None:
        return f"{in_full(run)}@{choice}" if choice else str(in_full(run))
    return str(in_full(name)) if is_there(Path(name)) else name


def read_layout(request: FinetuneRequest, observer: Observer) -> DataLayout:
    """Return the data set of a run.

    Args:
        request: Settings of the run.
        observer: Observer that gets the report on a data set for retrieval, before anything is
            refused, and notes on what was read as what.

    Raises:
        DataError: See `read_classes` and `require_trainable`; `read_retrieval` and
            `require_searchable` for a run that is judged by a search.
        ArgumentError: The metric says nothing about it.
    """
    if request.repeats.fold is not None:
        return require_judgeable(
            cut_into_folds(request).part(request.repeats.fold), request, observer
        )
    if request.svdnet is not None:
        return _read_searched(request, observer)
    training = request.training
    layout = read_classes(
        Path(request.data),
        val_fraction=training.val_fraction,
        test_classes=request.classes.test_classes,
        seed=training.seed,
        choice=request.layout,
    )
    return require_judgeable(layout, request, observer)


def cut_into_folds(request: FinetuneRequest) -> FoldedData:
    """Return the data set of a run cut into its folds.

    Raises:
        DataError: See `fold_data`.
    """
    return fold_data(
        Path(request.data),
        request.repeats.folds,
        searched=request.svdnet is not None,
        test_classes=request.classes.test_classes,
        choice=request.layout,
    )


def require_judgeable(
    layout: DataLayout, request: FinetuneRequest, observer: Observer
) -> DataLayout:
    """Return a data set that a run can be trained on and judged with.

    Args:
        layout: The data set.
        request: Settings of the run.
        observer: Observer that gets its notes, and a report on what is searched for, before
            anything is refused.

    Raises:
        DataError: See `require_trainable` and `require_searchable`.
        ArgumentError: A setting says nothing about it.
    """
    for note in layout.notes:
        observer.on_note(note)
    searched = layout.searched
    if searched is not None:
        report = report_on(searched, cameras=request.search.cameras)
        observer.on_report(report)  # before a refusal, which it explains
        require_searchable(searched, report)
    require_trainable(layout)
    _require_fit(request, layout)
    return layout


def _require_fit(request: FinetuneRequest, layout: DataLayout) -> None:
    """Refuse settings of a judgement that the data set does not get."""
    metric = request.training.eval_metric
    if layout.searched is None:
        if metric in OF_SEARCH:
            raise ArgumentError(
                f"--eval-metric {metric} is that of a search, and nothing is searched for.",
                hint="Choose top1, top5 or loss; a search judges folds of data for retrieval.",
            )
        if chosen := request.search.chosen():
            raise ArgumentError(
                f"{layout.root} is not for retrieval, and nothing is searched for: "
                f"{', '.join(chosen)} would have no effect.",
                hint="Leave it out.",
            )
        if metric == "top5" and len(layout.class_names) < 6:
            raise ArgumentError(
                f"--eval-metric top5 says nothing with {len(layout.class_names)} classes."
            )
    elif metric not in (*OF_SEARCH, TOP):
        raise ArgumentError(
            f"--eval-metric {metric} says nothing here: the identities of a fold are searched for, "
            "not classified.",
            hint="Choose rank1 or mAP.",
        )


def _read_searched(request: FinetuneRequest, observer: Observer) -> DataLayout:
    found = read_retrieval(
        Path(request.data), test_classes=request.classes.test_classes, choice=request.layout
    )
    return require_judgeable(searching_layout(found), request, observer)


def open_source(request: FinetuneRequest, observer: Observer, processes: Processes) -> OpenedModel:
    """Return the model of a new run; the generators are seeded before weights that start at random.

    Raises:
        CheckpointError: See `open_model`.
    """
    seed_everything(request.training.seed)  # before weights that start at random
    with processes.first_of_machine():
        opened = _opened(request, observer)
    for note in opened.notes:
        observer.on_note(note)
    return opened


def _opened(request: FinetuneRequest, observer: Observer) -> OpenedModel:
    if request.source is None:
        return open_initial(request.init_from, weights=request.weights)
    opened = open_model(request.source, track=observer.track)
    if request.init_from is None:
        return opened
    return load_initial_(opened, request.init_from, weights=request.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a run is made from, before anything is set up to change it.

    Attributes:
        opened: Model with the data's classes.
        data: Images of the run, checked.
    """

    opened: OpenedModel
    data: TrainingData

    def assembled(self, request: FinetuneRequest, processes: Processes) -> Parts:
        """Return everything of a run around the model, which is trained in place.

        Raises:
            CovtoolError: See `assemble` and `require_room_to_search`.
        """
        model, recipe = self.opened.model, self.opened.recipe
        head = find_head(model, recipe.input)
        parts = assemble(model, recipe, head, self.data, request, processes)
        require_room_to_search(parts)
        return parts


def run_name(request: FinetuneRequest, material: Material) -> str:
    """Return the name of a run's folder, before a number is added to it."""
    return request.experiment or stem_of(request.model or material.opened.recipe.base.name)


def gather(
    opened: OpenedModel,
    request: FinetuneRequest,
    layout: DataLayout,
    observer: Observer,
    processes: Processes,
    *,
    left_out: frozenset[Path] | None = None,
) -> Material:
    """Return the model of a new run, with the data's classes, and its images.

    Args:
        opened: Model of the run.
        request: Settings of the run.
        layout: Data set of the run.
        observer: Observer that gets notes on what is done to the model.
        processes: Processes that train together.
        left_out: Images that are not used; None where that is not known yet.

    Raises:
        CovtoolError: See `fit_classes_` and `check`.
    """
    # The classifier's rows keep their classes, where covtool once sorted names otherwise.
    if not request.new_classifier:
        layout = in_order_of(layout, opened.recipe.class_names or ())
    head = find_head(opened.model, opened.recipe.input)
    recipe, note = fit_classes_(
        opened, head, layout.class_names, new_classifier=request.new_classifier
    )
    if note:
        observer.on_note(note)
    if request.training.resolve_head == "on":
        observer.on_note(RESOLVED)
    # Of the weights as they came: none of the run's.
    recipe = recipe.model_copy(update={"scores": None, "neighbors": None})
    fitted = OpenedModel(model=opened.model, recipe=recipe)
    return check(fitted, request, layout, observer, processes, left_out=left_out)


def build_parts(
    opened: OpenedModel,
    request: FinetuneRequest,
    layout: DataLayout,
    observer: Observer,
    processes: Processes,
) -> Parts:
    """Return everything of a new run, with the data's classes.

    Raises:
        CovtoolError: See `gather` and `Material.assembled`.
    """
    return gather(opened, request, layout, observer, processes).assembled(request, processes)


def check(
    opened: OpenedModel,
    request: FinetuneRequest,
    layout: DataLayout,
    observer: Observer,
    processes: Processes,
    *,
    left_out: frozenset[Path] | None = None,
) -> Material:
    """Return a model with the images of a run, once these have been checked.

    Args:
        opened: Model to be trained, with the data's classes.
        request: Settings of the run.
        layout: Data set of the run.
        observer: Observer that gets notes on the images.
        processes: Processes that train together.
        left_out: Images that a resumed run has never used; None for a new run.

    Raises:
        CovtoolError: See `require_logits` and `load_data`.
    """
    model, recipe = opened.model, opened.recipe
    require_logits(model, recipe.input)
    data = load_data(layout, recipe.input, request, observer, processes, left_out=left_out)
    if not request.objective.needs("logits"):
        measured = ", and top-1, top-5 and the validation loss are computed with it"
        observer.on_note(
            f"--loss {request.objective.loss} trains the features alone: the classifier stays as "
            f"it is{measured if request.svdnet is None else ''}."
        )
    return Material(opened=opened, data=data)


def seed_everything(seed: int) -> None:
    """Seed the generators of `random`, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # numpy takes no more than 32 bits
    torch.manual_seed(seed)


def seed_process(seed: int, processes: Processes) -> None:
    """Let each process draw other numbers, once they have the same weights."""
    # The first keeps its generators as they are: alone, it draws what it has always drawn.
    if not processes.is_main:
        seed_everything(seed + processes.rank)
