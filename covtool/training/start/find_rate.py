"""A learning rate by a range test: of a run with ``--lr auto``, or the test alone."""

from dataclasses import dataclass, replace
from pathlib import Path

from covtool.data.datasets.folding import held_out_part
from covtool.data.datasets.layout import DataLayout, in_order_of
from covtool.data.datasets.samples import chosen_samples
from covtool.errors import RangeTestError
from covtool.processes import Processes, joined
from covtool.run_files.learning_rates import RatePoint
from covtool.run_files.places import require_run_place
from covtool.specs import FinetuneRequest
from covtool.specs.loading import LoadingSpec
from covtool.specs.optimization import AUTO
from covtool.training.parts.rate_choice import RangeTest, choose_rate
from covtool.training.run.directory import RunDirectory, directory_at
from covtool.training.run.observer import Observer, observer_for
from covtool.training.start.data_notes import DataNotes
from covtool.training.start.model_defaults import resolve_for_model
from covtool.training.start.prepare import (
    Material,
    gather,
    open_source,
    read_layout,
    resolve_defaults,
    run_name,
)
from covtool.training.start.range_test import HELD_OUT, run_ramp

MOST_PARTS = 5
"""Parts that the training images of a fold are cut into, one to judge by; of few images, fewer."""

FOLDER = "find-lr"
"""Folder of tests that no run follows, beside those of the commands that train."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRate:
    """A range test that no run follows.

    Attributes:
        directory: Folder with its points.
        lr: Suggested learning rate.
        lr_rule: Rule by which it was found.
        largest: Largest rate before the held-out loss rises.
        points: The model as it came, with a rate of 0, then an update each.
    """

    directory: Path
    lr: float
    lr_rule: str
    largest: float
    points: tuple[RatePoint, ...]


def find_learning_rate(request: FinetuneRequest, *, observer: Observer | None = None) -> FoundRate:
    """Test learning rates as a run with these settings would; nothing is trained after that.

    The points are written to ``<output>/find-lr/<name>``, whatever they come to.

    Args:
        request: Settings of the run; their learning rate is not used.
        observer: Observer of the test, in the first process.

    Raises:
        RangeTestError: No rate can be suggested; the points are written.
        ArgumentError: The held-out loss would say nothing about the run.
        CovtoolError: As `finetune`.
    """
    with joined(timeout_s=request.processes.dist_timeout) as processes:
        request = resolve_defaults(request.to_find_rate("--find-lr"), processes)
        return _found(request, observer_for(observer, processes), processes)


def _found(request: FinetuneRequest, observer: Observer, processes: Processes) -> FoundRate:
    output, name = Path(request.output), request.experiment
    processes.main(lambda: require_run_place(output, FOLDER, name))
    layout = read_layout(request, observer)
    DataNotes().give(layout, observer, processes)
    opened = open_source(request, observer, processes)
    request = resolve_for_model(request, opened.recipe, layout)
    material = gather(opened, request, layout, observer, processes)
    points = _points(material, request, layout, observer, processes)
    name = run_name(request, material)
    made = processes.main(lambda: RunDirectory.create(output, FOLDER, name, folders=()).path)
    directory = directory_at(made, processes)
    directory.write_rates(points)
    try:
        choice = _chosen(points).choice
    except RangeTestError as problem:
        raise problem.with_hint(f"The points are in {made}. {problem.hint}") from problem
    return FoundRate(
        directory=made, lr=choice.lr, lr_rule=choice.rule, largest=choice.largest, points=points
    )


def with_found_rate(
    material: Material,
    request: FinetuneRequest,
    layout: DataLayout,
    observer: Observer,
    processes: Processes,
) -> tuple[FinetuneRequest, RangeTest | None]:
    """Return the settings of a run with a number for its learning rate, and the test that found it.

    Args:
        material: Model and images of the run, which stay as they are.
        request: Settings of the run.
        layout: Data set of the run.
        observer: Observer that gets the suggestion and its rule.
        processes: Processes that train together.

    Returns:
        The same settings and None, where the rate is a number already.

    Raises:
        RangeTestError: No rate can be suggested.
    """
    if request.training.lr != AUTO:
        return request, None
    test = _chosen(_points(material, request, layout, observer, processes))
    choice = test.choice
    observer.on_note(
        f"Range test of {len(test.points) - 1} updates: the learning rate is {choice.lr:g}, "
        f"{choice.rule} ({choice.largest:.2g})."
    )
    found = {"lr": choice.lr, "lr_rule": choice.rule}
    training = request.training.model_copy(update=found)
    return request.model_copy(update={"training": training}), test


def _points(
    material: Material,
    request: FinetuneRequest,
    layout: DataLayout,
    observer: Observer,
    processes: Processes,
) -> tuple[RatePoint, ...]:
    """Return the points of a test; that of a run on folds has its training images alone.

    Whatever is chosen on the fold that is held out, the run's figures on it would flatter.
    """
    if request.repeats.fold is not None:
        material, request = _on_training_images(material, request, layout)
        observer.on_note(
            f"The range test is judged by {len(material.data.validation)} of the training images: "
            "those of the fold that is held out choose no learning rate."
        )
    return run_ramp(material, request, observer, processes)


def _on_training_images(
    material: Material, request: FinetuneRequest, layout: DataLayout
) -> tuple[Material, FinetuneRequest]:
    """Return material with a part of the training images to judge by, and settings without cache.

    A cache holds training images as they are varied, not as they are evaluated.
    """
    layout = in_order_of(layout, material.opened.recipe.class_names or ())
    left_out = material.data.left_out
    samples = layout.samples("train")
    if left_out:
        rows = [row for row, sample in enumerate(samples) if sample.path not in left_out]
        samples = chosen_samples(samples, rows)
    parts = max(min(MOST_PARTS, len(samples) // HELD_OUT), 2)
    training, held_out = held_out_part(layout, samples, parts)
    data = replace(material.data, training=training, validation=held_out, searched=None)
    request = request.model_copy(update={"loading": LoadingSpec()})
    return replace(material, data=data), request


def _chosen(points: tuple[RatePoint, ...]) -> RangeTest:
    start, *updates = points
    try:
        choice = choose_rate(
            [point.lr for point in updates],
            [point.held_out_loss for point in updates],
            start=start.held_out_loss,
        )
    except RangeTestError as problem:
        raise problem.with_hint("Give the rate with --lr; --find-lr keeps the curve.") from problem
    return RangeTest(points=points, choice=choice)
