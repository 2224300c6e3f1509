"""The classifier of a calibrated head: a ridge regression, scaled to be logits."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from covtool.allocator import giving_back
from covtool.ops.nystrom import Subspace
from covtool.ops.ridge import Batches, Side, fit_ridge, fit_ridge_by_batches, mistakes
from covtool.ops.temperature import TemperatureFit, fit_held_out, held_out_loss
from covtool.surgery.calibration_memory import MemoryPlan

_SOFTENING = 4  # of the likeliest scale: sharper logits make the first training steps too large
_TEMPERATURES = torch.logspace(0, 3, 61, dtype=torch.float64)


@giving_back()
def subspace_of(batches: Batches, *, rows: Tensor) -> Subspace:
    """Return the subspace that some rows of all span, by their places, which ascend."""
    found: Tensor | None = None
    seen = filled = 0
    for features, _ in batches():
        chosen = rows[(rows >= seen) & (rows < seen + len(features))] - seen
        if found is None:
            found = features.new_empty(len(rows), features.shape[1])
        torch.index_select(features, 0, chosen, out=found[filled : filled + len(chosen)])
        seen, filled = seen + len(features), filled + len(chosen)
    assert found is not None  # there are images
    return Subspace.spanned_by_(found[:filled])


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedClassifier:
    """A classifier, and how it was found; for what is not named here see `CalibrationResult`.

    Attributes:
        weight: Shape (K, d), of features that are not projected.
        bias: Shape (K,).
        right: Whether each image is given its class by the classifier that was solved without it,
            shape (n,).
    """

    weight: Tensor
    bias: Tensor
    right: Tensor
    images: int
    left_out_top_1: float
    left_out_loss: float | None
    penalty: float
    side: Side
    system_size: int
    temperature: float
    predictions: TemperatureFit | None


@giving_back()
def solve_classifier(
    batches: Batches,
    *,
    memory: MemoryPlan,
    num_images: int,
    subspace: Subspace | None,
) -> SolvedClassifier:
    """Solve for a classifier from one-hot targets, within a plan for the memory.

    Args:
        batches: Features, projected to the subspace if there is one, and targets of all images.
        memory: The plan.
        num_images: Number of images, at most.
        subspace: Subspace of the projections; None for features as they are.
    """
    labels: list[Tensor] = []

    def labeled() -> Iterator[tuple[Tensor, Tensor]]:
        labels.clear()
        for features, targets in batches():
            labels.append(targets.byte().argmax(dim=1))
            yield features, targets

    if memory.keep:
        gathered = _gathered(labeled(), num_images)
        fit = fit_ridge(*gathered, loss=mistakes, side=memory.side)
    else:
        fit = fit_ridge_by_batches(labeled, loss=mistakes)
    # Back to the features, so the file needs no subspace.
    weight = subspace.transpose(fit.weight) if subspace else fit.weight
    seen = torch.cat(labels)
    judged = seen[:: fit.every]
    temperature = _temperature(fit.left_out, judged)
    right = fit.answers == seen
    # Of the logits as the file has them: the classifier is scaled by the other temperature.
    predictions, loss = _predictions(temperature * fit.left_out, judged)
    return SolvedClassifier(
        weight=temperature * weight,
        bias=temperature * fit.bias,
        right=right,
        images=len(right),
        left_out_top_1=100 * right.double().mean().item(),
        left_out_loss=loss,
        penalty=fit.penalty,
        side=fit.side,
        system_size=len(right) if fit.side == "rows" else fit.weight.shape[1],
        temperature=temperature,
        predictions=predictions,
    )


def _gathered(batches: Iterator[tuple[Tensor, Tensor]], rows: int) -> tuple[Tensor, Tensor]:
    """Return all rows in one tensor, made once: joining parts would take twice the memory."""
    filled = 0
    for features, targets in batches:
        if not filled:
            all_features = features.new_empty(rows, features.shape[1])
            all_targets = targets.new_empty(rows, targets.shape[1])
        rows_here = slice(filled, filled + len(features))
        all_features[rows_here], all_targets[rows_here] = features, targets
        filled += len(features)
    return all_features[:filled], all_targets[:filled]


def _predictions(logits: Tensor, labels: Tensor) -> tuple[TemperatureFit | None, float | None]:
    """Return the temperature of predictions by left-out logits, and their loss at it."""
    fit = fit_held_out(logits, labels)
    return fit, None if fit is None else held_out_loss(logits, labels, fit)


def _temperature(left_out: Tensor, labels: Tensor) -> float:
    """Return a quarter of the factor, 1 to 1000, that makes left-out predictions likeliest.

    A regression on one-hot targets answers between 0 and 1: right in order, but nearly uniform
    as logits, and a fine-tuning run would spend its first epochs on the scale.
    """
    losses = [nn.functional.cross_entropy(t * left_out, labels) for t in _TEMPERATURES]
    return _TEMPERATURES[torch.stack(losses).argmin()].item() / _SOFTENING
