"""Calibrated surgery: a new head that starts from the data instead of at random.

A covariance ignores shifts, so its 1x1 reduction can start as the principal directions of the
backbone's own features; the classifier is the ridge regression of the classes on what the head
puts out. Both are closed forms over images that stream by; nothing is trained.
"""

from collections.abc import Iterator, Sequence, Sized
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from covtool.allocator import keeping_again
from covtool.layers.global_pooling import GlobalPooling
from covtool.ops.nystrom import Subspace, landmark_rows
from covtool.ops.principal import principal_directions
from covtool.processes import ALONE, Processes
from covtool.progress import Track, silent
from covtool.surgery.calibrated import CalibrationResult, ChannelMoments, HeadFit
from covtool.surgery.calibration_memory import plan_memory
from covtool.surgery.classifier import solve_classifier, subspace_of
from covtool.surgery.head import HeadPlan, branches_of
from covtool.surgery.module_types import module_at
from covtool.surgery.streaming import Inputs, Loader, Moments, Tracked, stream_moments_

DEFAULT_GIB = 4.0
"""Bound on the memory of a classifier's solver where none is given, in GiB."""


def calibrate_head_(  # noqa: PLR0913 -- a model, what is new in it, images, and how
    model: nn.Module,
    plan: HeadPlan,
    loader: Loader,
    *,
    num_images: int,
    memory_gib: float = DEFAULT_GIB,
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
            It is iterated twice, or up to five times where features do not fit into memory.
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
    memory_gib: float = DEFAULT_GIB,
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
def refit_classifier_(  # noqa: PLR0913 -- a model, its classifier, images, and how
    model: nn.Module,
    classifier: str,
    loader: Loader,
    *,
    num_images: int,
    memory_gib: float = DEFAULT_GIB,
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
    memory = plan_memory(
        num_images, classifier.in_features, memory_gib, classes=classifier.out_features
    )
    share = partial(_share, model, classifier, tracked)
    subspace = (
        tracked.processes.main_over(
            partial(share, None, "features that span the rest"),
            partial(subspace_of, rows=landmark_rows(num_images, memory.subspace + 1)),
        )
        if memory.subspace is not None
        else None
    )
    solved = tracked.processes.main_over(
        partial(share, subspace, "features for the classifier"),
        partial(solve_classifier, memory=memory, num_images=num_images, subspace=subspace),
    )
    classifier.weight.copy_(solved.weight)
    classifier.bias.copy_(solved.bias)
    result = CalibrationResult(
        images=solved.images,
        left_out_top_1=solved.left_out_top_1,
        left_out_loss=solved.left_out_loss,
        penalty=solved.penalty,
        side=solved.side,
        system_size=solved.system_size,
        projected=subspace is not None,
        kept_features=memory.keep,
        exact_memory_gib=memory.exact_gib,
        exact_in_reach=memory.exact_in_reach,
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
    model: nn.Module,
    classifier: nn.Linear,
    tracked: Tracked,
    subspace: Subspace | None,
    description: str,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the classifier's input, perhaps projected, and one-hot labels: of this process."""
    with Inputs(classifier) as inputs:
        for labels in _as_outside(tracked.run(model, description)):
            features = inputs.last.float().cpu()
            targets = nn.functional.one_hot(labels, classifier.out_features)
            # A byte each: of 100,000 images and 1,000 classes, not 800 MB.
            yield subspace.apply(features) if subspace else features, targets.bool()


def _as_outside(batches: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yield what a network gives, run as it is where no solver counts its memory."""
    while True:
        with keeping_again():
            labels = next(batches, None)
        if labels is None:
            return
        yield labels
