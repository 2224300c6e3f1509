"""Calibrated surgery: a new head that starts from the data instead of at random.

A covariance ignores shifts, so its 1x1 reduction can start as the principal directions of the
backbone's own features; the classifier is the ridge regression of the classes on what the head
puts out. Both are closed forms over images that stream by; nothing is trained.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from covtool.layers.global_pooling import GlobalPooling
from covtool.ops.principal import principal_directions
from covtool.ops.ridge import fit_ridge, fit_ridge_by_batches, mistakes
from covtool.ops.sketch import CountSketch
from covtool.ops.temperature import TemperatureFit, fit_held_out
from covtool.processes import ALONE, Processes
from covtool.progress import Track, silent
from covtool.surgery.calibrated import CalibrationResult, ChannelMoments, HeadFit
from covtool.surgery.head import HeadPlan, branches_of
from covtool.surgery.module_types import module_at
from covtool.surgery.streaming import Inputs, Loader, Moments, Tracked, stream_moments_

# An eigendecomposition in float64 takes cubic time: 8192 unknowns are minutes on two cores.
LARGEST_SYSTEM = 8192
LARGEST_SKETCH = 4096
# The system, its eigenvectors and the workspace of eigh are there at the same time.
_FLOAT32, _FLOAT64, _EIGEN_COPIES = 4, 8, 3
_SOFTENING = 4  # of the likeliest scale: sharper logits make the first training steps too large
_TEMPERATURES = torch.logspace(0, 3, 61, dtype=torch.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """How the classifier is solved for within a bound on memory.

    Attributes:
        sketch_size: Numbers that each feature vector is sketched to; None to use it as it is.
        keep: Whether all (sketched) features fit; otherwise they are computed again each time.
    """

    sketch_size: int | None
    keep: bool


def plan_memory(images: int, features: int, limit_gib: float) -> MemoryPlan:
    """Choose between dual, primal and sketched solutions.

    The dual (as many unknowns as images) or the primal (as many as features), with all features
    in memory, where they fit; the primal over streamed features where only its d x d system
    fits; otherwise the same with count-sketched features.
    """
    limit = limit_gib * 2**30

    def fits(width: int, *, keep: bool) -> bool:
        unknowns = min(images, width) if keep else width
        system = _EIGEN_COPIES * _FLOAT64 * unknowns**2
        return unknowns <= LARGEST_SYSTEM and system + keep * _FLOAT32 * images * width <= limit

    sketched = min(features, LARGEST_SKETCH, isqrt(int(limit / (2 * _EIGEN_COPIES * _FLOAT64))))
    # In the order of preference: exact features first, and kept ones before computed ones.
    for width in dict.fromkeys((features, max(sketched, 1))):
        for keep in (True, False):
            if fits(width, keep=keep):
                return MemoryPlan(sketch_size=None if width == features else width, keep=keep)
    return MemoryPlan(sketch_size=max(sketched, 1), keep=False)


def calibrate_head_(  # noqa: PLR0913 -- a model, what is new in it, images, and how
    model: nn.Module,
    plan: HeadPlan,
    loader: Loader,
    *,
    num_images: int,
    memory_gib: float = 2.0,
    track: Track = silent,
    processes: Processes = ALONE,
) -> CalibrationResult:
    """Set the reduction and the classifier of a fresh head from images, in place.

    Several processes run the model on a share of the images each. The first one gathers the
    features and solves; all have the head afterwards.

    Args:
        model: Result of `apply_head` for `plan`; in eval mode.
        plan: The plan.
        loader: The images, or of several processes the share of this one: every so many batches.
            It is iterated twice, or up to four times where features do not fit into memory.
        num_images: Number of images in one iteration, of all processes together.
        memory_gib: Bound on the memory of features and system together.
        track: Shows progress.
        processes: Processes that have a share of the images each.
    """
    fit = fit_head_(
        model,
        plan,
        loader,
        num_images=num_images,
        memory_gib=memory_gib,
        track=track,
        processes=processes,
    )
    return fit.result


@torch.no_grad()
def fit_head_(  # noqa: PLR0913 -- a model, what is new in it, images, and how
    model: nn.Module,
    plan: HeadPlan,
    loader: Loader,
    *,
    num_images: int,
    memory_gib: float = 2.0,
    moments: Sequence[ChannelMoments] = (),
    track: Track = silent,
    processes: Processes = ALONE,
) -> HeadFit:
    """Do what `calibrate_head_` does, and return which images were right as well.

    Args:
        model: As for `calibrate_head_`, and so are the arguments that are not named here.
        plan: The plan.
        loader: The images.
        num_images: Number of images in one iteration, of all processes together.
        memory_gib: Bound on the memory of features and system together.
        moments: What `channel_moments` found for another head on the same maps, one for each
            reduction; empty to compute them.
        track: Shows progress.
        processes: Processes that have a share of the images each.
    """
    branches = branches_of(model, plan)
    batches = len(loader) if isinstance(loader, Sized) else None
    tracked = Tracked(loader, track, batches, next(model.parameters()).device, processes)
    # The order matters: the batch norm sees what the reduction gives, the classifier what both do.
    reductions = _reductions(branches)
    explained: tuple[float, ...] = ()
    if reductions:
        moments = moments or _channel_moments(model, reductions, tracked)
        explained = _principal_reductions_(reductions, moments)
    norms = [b.post_bn for b in branches if isinstance(b.post_bn, nn.BatchNorm1d)]
    if norms:
        _estimate_batch_norms_(model, norms, tracked)
    return _fit_classifier_(
        model,
        module_at(model, plan.sites.classifier, nn.Linear),
        tracked,
        num_images=num_images,
        memory_gib=memory_gib,
        explained=explained,
    )


@torch.no_grad()
def solve_classifier_(  # noqa: PLR0913 -- a model, its classifier, images, and how
    model: nn.Module,
    classifier: str,
    loader: Loader,
    *,
    num_images: int,
    memory_gib: float = 2.0,
    track: Track = silent,
    processes: Processes = ALONE,
) -> CalibrationResult:
    """Set the classifier of a model from images, in place, as `calibrate_head_` does.

    Nothing else changes, so the features are those that the model has learned. Of images that
    they were learned from, what is left out is no estimate for new images: the features know them.

    Args:
        model: Model in eval mode, whose outputs are the classes of the labels.
        classifier: Path of its linear classifier, which has a bias.
        loader: As for `calibrate_head_`, and so are the arguments that follow.
        num_images: Number of images in one iteration, of all processes together.
        memory_gib: Bound on the memory of features and system together.
        track: Shows progress.
        processes: Processes that have a share of the images each.
    """
    batches = len(loader) if isinstance(loader, Sized) else None
    tracked = Tracked(loader, track, batches, next(model.parameters()).device, processes)
    layer = module_at(model, classifier, nn.Linear)
    fit = _fit_classifier_(model, layer, tracked, num_images=num_images, memory_gib=memory_gib)
    return fit.result


def _fit_classifier_(
    model: nn.Module,
    classifier: nn.Linear,
    tracked: Tracked,
    *,
    num_images: int,
    memory_gib: float,
    explained: tuple[float, ...] = (),
) -> HeadFit:
    memory = plan_memory(num_images, classifier.in_features, memory_gib)
    solved = tracked.processes.main_over(
        partial(_share, model, classifier, tracked, memory),
        partial(_solve, memory=memory, num_images=num_images, in_features=classifier.in_features),
    )
    classifier.weight.copy_(solved.weight)
    classifier.bias.copy_(solved.bias)
    result = CalibrationResult(
        images=solved.images,
        left_out_top_1=solved.left_out_top_1,
        penalty=solved.penalty,
        side=solved.side,
        system_size=solved.images
        if solved.side == "rows"
        else memory.sketch_size or classifier.in_features,
        sketched=memory.sketch_size is not None,
        kept_features=memory.keep,
        explained_variance=min(explained, default=None),
        explained_variances=explained,
        temperature=solved.temperature,
        predictions=solved.predictions,
    )
    return HeadFit(result=result, right=solved.right)


@torch.no_grad()
def channel_moments(
    model: nn.Module, plan: HeadPlan, loader: Loader, *, track: Track = silent
) -> tuple[ChannelMoments, ...]:
    """Return the moments of what each reduction of a new head is given; none without a reduction.

    Args:
        model: Result of `apply_head` for `plan`; in eval mode.
        plan: The plan.
        loader: The images; iterated once.
        track: Shows progress.
    """
    reductions = _reductions(branches_of(model, plan))
    if not reductions:
        return ()
    batches = len(loader) if isinstance(loader, Sized) else None
    tracked = Tracked(loader, track, batches, next(model.parameters()).device, ALONE)
    return _channel_moments(model, reductions, tracked)


def _reductions(branches: Sequence[GlobalPooling]) -> list[nn.Sequential]:
    return [b.reduction for b in branches if isinstance(b.reduction, nn.Sequential)]


def _channel_moments(
    model: nn.Module, reductions: Sequence[nn.Sequential], tracked: Tracked
) -> tuple[ChannelMoments, ...]:
    """Return the moments of the inputs of 1x1 reductions, in one pass over all images."""
    convs = [module_at(reduction, "conv", nn.Conv2d) for reduction in reductions]
    moments = [Moments(conv.in_channels, tracked.device, mixed=True) for conv in convs]
    stream_moments_(model, reductions, moments, tracked, "principal directions")
    central = [sums.central() for sums in moments]
    return tuple(ChannelMoments(mean=mean, covariance=cov) for mean, cov in central)


def _principal_reductions_(
    reductions: Sequence[nn.Sequential], moments: Sequence[ChannelMoments]
) -> tuple[float, ...]:
    """Set 1x1 reductions to the principal directions of their inputs.

    Returns:
        For each the share of the variance that it keeps, percent.
    """
    kept = []
    for reduction, found in zip(reductions, moments, strict=True):
        conv, cov = module_at(reduction, "conv", nn.Conv2d), found.covariance
        directions = principal_directions(cov, conv.out_channels)
        variances = (directions @ cov * directions).sum(dim=1)
        conv.weight.copy_(directions[:, :, None, None])
        # Known in closed form: projections have the mean and the variance of their directions.
        if hasattr(reduction, "bn"):
            norm = module_at(reduction, "bn", nn.BatchNorm2d)
            _set_statistics_(norm, directions @ found.mean, variances)
        kept.append(100 * (variances.sum() / cov.diagonal().sum()).item())
    return tuple(kept)


def _estimate_batch_norms_(
    model: nn.Module, norms: Sequence[nn.BatchNorm1d], tracked: Tracked
) -> None:
    """Set the statistics of batch norms to those of their inputs over all images."""
    moments = [Moments(norm.num_features, tracked.device, mixed=False) for norm in norms]
    stream_moments_(model, norms, moments, tracked, "batch norm statistics")
    for norm, sums in zip(norms, moments, strict=True):
        mean, variance = sums.central()
        # Rounding may leave a variance just below zero where a channel is constant.
        _set_statistics_(norm, mean, variance.clamp_min(0))


def _set_statistics_(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    # torch's batch norms may lack them, covtool's own never do.
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


def _share(
    model: nn.Module, classifier: nn.Linear, tracked: Tracked, memory: MemoryPlan
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the classifier's input, perhaps sketched, and one-hot labels: of this process."""
    sketch = _sketch(classifier.in_features, memory)
    with Inputs(classifier) as inputs:
        for labels in tracked.run(model, "features for the classifier"):
            features = inputs.last.float().cpu()
            targets = nn.functional.one_hot(labels, classifier.out_features)
            yield sketch.apply(features) if sketch else features, targets.double()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Solved:
    """A classifier, and how it was found; see `CalibrationResult`."""

    weight: Tensor
    bias: Tensor
    right: Tensor
    images: int
    left_out_top_1: float
    penalty: float
    side: str
    temperature: float
    predictions: TemperatureFit | None


def _solve(
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    *,
    memory: MemoryPlan,
    num_images: int,
    in_features: int,
) -> _Solved:
    labels: list[Tensor] = []

    def labeled() -> Iterator[tuple[Tensor, Tensor]]:
        labels.clear()
        for features, targets in batches():
            labels.append(targets.argmax(dim=1))
            yield features, targets

    if memory.keep:
        fit = fit_ridge(*_gathered(labeled(), num_images), loss=mistakes)
    else:
        fit = fit_ridge_by_batches(labeled, loss=mistakes)
    # The same sketch as in `_share`: it is drawn with a seed of its own. Its transpose takes the
    # weights back to the features, so the file needs no sketch.
    sketch = _sketch(in_features, memory)
    weight = sketch.transpose(fit.weight) if sketch else fit.weight
    seen = torch.cat(labels)
    temperature = _temperature(fit.left_out, seen)
    right = fit.left_out.argmax(dim=1) == seen
    return _Solved(
        weight=temperature * weight,
        bias=temperature * fit.bias,
        right=right,
        images=len(right),
        left_out_top_1=100 * right.double().mean().item(),
        penalty=fit.penalty,
        side=fit.side,
        temperature=temperature,
        # Of the logits as the file has them: the classifier is scaled by the other one.
        predictions=fit_held_out(temperature * fit.left_out, seen),
    )


def _sketch(in_features: int, memory: MemoryPlan) -> CountSketch | None:
    if memory.sketch_size is None:
        return None
    return CountSketch.draw(in_features, memory.sketch_size)


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


def _temperature(left_out: Tensor, labels: Tensor) -> float:
    """Return a quarter of the factor, 1 to 1000, that makes left-out predictions likeliest.

    A regression on one-hot targets answers between 0 and 1: right in order, but nearly uniform
    as logits, and a fine-tuning run would spend its first epochs on the scale.
    """
    losses = [nn.functional.cross_entropy(t * left_out, labels) for t in _TEMPERATURES]
    return _TEMPERATURES[torch.stack(losses).argmin()].item() / _SOFTENING
