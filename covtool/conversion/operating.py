"""The operations of a request, done one after the other on a copy of the source."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from covtool.checkpoints.opened import OpenedModel
from covtool.conversion.calibrating import (
    CalibrationImages,
    calibrate_convolutions,
    measure_agreement,
)
from covtool.conversion.records import ConvolutionsReport, Job
from covtool.data.datasets.layout import DataLayout
from covtool.errors import ArgumentError
from covtool.evaluation.classification.class_matching import classes_stay
from covtool.specs import Operation, Recipe
from covtool.surgery.eigenlayer import EigenlayerPlan
from covtool.surgery.head import HeadPlan
from covtool.surgery.operations import PlanContext, PlannedOperation, plan_step


@dataclass(frozen=True, slots=True, kw_only=True)
class Operated:
    """A copy of a source on which operations were done.

    Attributes:
        model: The copy, in eval mode; without the operations that wait for a calibrated head,
            which `finished` does.
        steps: The operations with their plans, in order.
        convolutions: Report on the convolutions, for each such operation.
    """

    model: nn.Module
    steps: tuple[PlannedOperation, ...] = ()
    convolutions: tuple[ConvolutionsReport, ...] = ()

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations with every choice made."""
        return tuple(step.spec for step in self.steps)

    @property
    def head(self) -> HeadPlan | None:
        """Plan of the last new head; None where the head stays."""
        return _last_plan(self.steps, "head")

    @property
    def eigenlayer(self) -> EigenlayerPlan | None:
        """Plan of the Eigenlayer; None without one."""
        return _last_plan(self.steps, "eigenlayer")


def operate_on(
    opened: OpenedModel, layout: DataLayout | None, images: CalibrationImages | None, job: Job
) -> Operated:
    """Do the operations of a request on a copy of its source.

    Operators are calibrated at once, each on the network as it is then.

    Args:
        opened: The source.
        layout: Data set whose classes the classifier gets; None without one.
        images: Images to calibrate with; None without calibration.
        job: The request, the processes and the progress.

    Raises:
        ArgumentError: The number of classes contradicts the data.
        SurgeryError: An operation has no place in the model.
    """
    context = _context(opened.recipe, layout, job, calibrated=images is not None)
    model, steps, reports = opened.model, [], []
    with _seeded(job.request.spec.seed):
        for operation in job.request.operations:
            step = plan_step(model, operation, context)
            # An Eigenlayer is planned in its place, and put in when the classifier has its weights.
            if not step.row.after_calibration:
                before, model = model, step.apply(model).eval()
            if step.row.calibration == "at once":
                new_head = _last_plan(steps, "head") is not None
                reports.append(_report((before, model), step, opened.recipe, images, new_head, job))
            steps.append(step)
    return Operated(model=model, steps=tuple(steps), convolutions=tuple(reports))


def finished(operated: Operated, seed: int) -> nn.Module:
    """Return the model with the operations that wait for a calibrated head.

    Args:
        operated: The other operations, done; its head may be calibrated by now.
        seed: Seed of what starts at random.
    """
    model = operated.model
    for step in operated.steps:
        if step.row.after_calibration:
            with _seeded(seed):  # anew: what a calibration has drawn does not matter
                model = step.apply(model).eval()
    return model


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    # The caller's generator stays where it was, and the same seed gives the same file.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _context(
    recipe: Recipe, layout: DataLayout | None, job: Job, *, calibrated: bool
) -> PlanContext:
    names = layout.class_names if layout else None
    num_classes = job.request.spec.num_classes
    if names and num_classes and num_classes != len(names):
        raise ArgumentError(
            f"--num-classes {num_classes} does not fit the data, which has {len(names)} classes."
        )
    return PlanContext(
        images=recipe.input,
        num_classes=len(names) if names else num_classes,
        # As many classes as before may be other classes, or the same in another order.
        new_classes=names is not None
        and not classes_stay(recipe.class_names, names, recipe.num_classes),
        calibrated=calibrated,
    )


def _report(
    models: tuple[nn.Module, nn.Module],
    step: PlannedOperation,
    recipe: Recipe,
    images: CalibrationImages | None,
    new_head: bool,
    job: Job,
) -> ConvolutionsReport:
    """Calibrate new operators where there are images, and compare the network with its source."""
    if images is None:
        return ConvolutionsReport(plan=step.plan)
    calibration = calibrate_convolutions(models, step.plan, images, recipe, job)
    # A new classifier knows nothing yet: there is nothing to compare.
    kept = None if new_head else measure_agreement(models, images, recipe, job)
    return ConvolutionsReport(plan=step.plan, calibration=calibration, kept=kept)


def _last_plan(steps: Sequence[PlannedOperation], name: str) -> Any:
    return next((step.plan for step in reversed(steps) if step.row.name == name), None)
