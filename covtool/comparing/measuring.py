"""The rows of one network: each head fitted on kept maps, and what its model costs."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from covtool.comparing.candidates import Candidate, Subject
from covtool.comparing.costs import Costs, measure_costs
from covtool.comparing.head_on_maps import HeadOnMaps, KeptBatches
from covtool.comparing.map_store import MapStore
from covtool.comparing.passes import ImagesOf, map_names
from covtool.comparing.records import LeftOutRow
from covtool.comparing.retrieval_estimates import TrainingSearch
from covtool.errors import ArgumentError, NonFiniteError
from covtool.progress import Track
from covtool.surgery import ChannelMoments, apply_head, channel_moments, fit_head_

CONVERT_SEED = 0
"""Seed that `covtool convert` has by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRow:
    """A head with its figure, image by image.

    Attributes:
        subject: The network.
        candidate: The head.
        values: What each image gets, 0 to 1, shape (n,), float64: whether it is right if left out,
            or its average precision as a query.
        figure: Mean of them, percent; of left-out images as `convert` prints it.
        rank_1: Share of queries whose first image is a match, percent; None without a search.
        left_out_loss: See `ComparedRow`.
        projected_to: See there.
        costs: What the converted network costs.
    """

    subject: Subject
    candidate: Candidate
    values: Tensor
    figure: float
    rank_1: float | None
    left_out_loss: float | None
    projected_to: int | None
    costs: Costs


@dataclass
class Stopwatch:
    """Seconds by part."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        """Add the seconds of the block to a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, slots=True, kw_only=True)
class Measuring:
    """How rows are measured.

    Attributes:
        images: Number of images.
        memory_gib: Bound on the memory of a head's solver.
        device: Device to compute on.
        track: Display of the progress.
        watch: Seconds by part.
        search: Search whose figures count; None for left-out images.
    """

    images: int
    memory_gib: float
    device: torch.device
    track: Track
    watch: Stopwatch
    search: TrainingSearch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedHead:
    """A head that was fitted.

    Attributes:
        candidate: The head.
        converted: The converted network, with the head as it was fitted; on the CPU.
        head: The same on the maps that are kept; on the device.
        values: What each image gets; see `MeasuredRow`.
        figure: Mean of them, percent.
        rank_1: See `MeasuredRow`.
        left_out_loss: See `ComparedRow`.
        projected_to: See there.
    """

    candidate: Candidate
    converted: nn.Module
    head: HeadOnMaps
    values: Tensor
    figure: float
    rank_1: float | None = None
    left_out_loss: float | None = None
    projected_to: int | None = None


def measured_row(subject: Subject, fit: FittedHead, how: Measuring) -> MeasuredRow:
    """Return the row of a fitted head, whose network's costs are measured."""
    with how.watch.of("speed"):
        costs = measure_costs(fit.converted, subject.opened.recipe.input, how.device)
    return MeasuredRow(
        subject=subject,
        candidate=fit.candidate,
        values=fit.values,
        figure=fit.figure,
        rank_1=fit.rank_1,
        left_out_loss=fit.left_out_loss,
        projected_to=fit.projected_to,
        costs=costs,
    )


@dataclass
class Fitting:
    """Heads of one network, fitted on its maps one after the other.

    Args:
        subject: The network, on the CPU.
        store: Its maps.
        how: How rows are measured.
    """

    subject: Subject
    store: MapStore
    how: Measuring
    _moments: dict[str, ChannelMoments] = field(default_factory=dict)

    def every(self, candidates: Sequence[Candidate]) -> Iterator[FittedHead | LeftOutRow]:
        """Yield each head, fitted, or why it cannot be."""
        title = f"{self.subject.prefix}heads"
        for candidate in self.how.track(candidates, title, len(candidates)):
            yield self.one(candidate)

    def one(self, candidate: Candidate) -> FittedHead | LeftOutRow:
        """Return a head, fitted, or why it cannot be."""
        with self.how.watch.of("heads"):
            converted = self.converted(candidate)
            fit = _or_reason(
                partial(_fitted, candidate, converted, self.store, self._moments, self.how)
            )
        return without_row(self.subject, candidate, fit) if isinstance(fit, str) else fit

    def converted(self, candidate: Candidate) -> nn.Module:
        """Return the network with a new head, as `convert` would start it."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(CONVERT_SEED)
            return apply_head(self.subject.opened.model, candidate.plan).eval()


def _fitted(
    candidate: Candidate,
    converted: nn.Module,
    store: MapStore,
    moments: dict[str, ChannelMoments],
    how: Measuring,
) -> FittedHead:
    """Fit a head on kept maps, and return what each image gets from it."""
    plan, batches = candidate.plan, KeptBatches(store)
    names = map_names(plan)
    head = HeadOnMaps(converted, plan, store, names).to(how.device)
    if plan.spec.reduction != "none" and not plan.spec.own_average:
        # Of a map they are the same for every head, and most of its time.
        if not all(name in moments for name in names):
            moments.update(zip(names, channel_moments(head, plan, batches), strict=True))
        shared = tuple(moments[name] for name in names)
    else:
        shared = ()
    fit = fit_head_(
        head,
        plan,
        batches,
        num_images=how.images,
        memory_gib=how.memory_gib,
        moments=shared,
    )
    fitted = FittedHead(
        candidate=candidate,
        converted=converted,
        head=head,
        values=fit.right.cpu().double(),
        figure=fit.result.left_out_top_1,
        left_out_loss=fit.result.left_out_loss,
        projected_to=fit.result.system_size if fit.result.projected else None,
    )
    return fitted if how.search is None else _searched(fitted, how.search, store)


@torch.inference_mode()
def _searched(fitted: FittedHead, search: TrainingSearch, store: MapStore) -> FittedHead:
    """Return a head with the figures of a search for the training images."""
    found = search.estimate(all_features(fitted.head, store))
    return replace(
        fitted,
        values=found.average_precisions,
        figure=found.mean_average_precision,
        rank_1=found.rank_1,
        left_out_loss=None,  # a search needs no classifier
        projected_to=None,
    )


@torch.inference_mode()
def all_features(head: HeadOnMaps, store: MapStore) -> Tensor:
    """Return the classifier's input of all images, (n, in_features), on the CPU."""
    return torch.cat([head.features(batch).cpu() for batch in range(store.batches)])


def is_as_converted(fit: FittedHead, images: ImagesOf, device: torch.device) -> bool:
    """Return whether the classifier within the network is given what it is given here."""
    found: list[Tensor] = []
    classifier = fit.converted.get_submodule(fit.candidate.plan.sites.classifier)
    handle = classifier.register_forward_pre_hook(lambda m, given: found.append(given[0]))
    try:
        with torch.inference_mode():
            fit.converted.to(device)(next(iter(images.loader([0])))[0].to(device))
            expected = fit.head.features(0)
    finally:
        handle.remove()
    return torch.equal(found[0], expected)


def _or_reason(fit: Callable[[], FittedHead]) -> FittedHead | str:
    """Return a fit, or why these features allow none: that is an answer, not an abort."""
    try:
        return fit()
    except (ArgumentError, NonFiniteError) as problem:
        return " ".join(part for part in (problem.message, problem.reason) if part)
    except torch.linalg.LinAlgError:
        return "Its features are not finite on these images, or the solver finds no solution."


def without_row(subject: Subject, candidate: Candidate, reason: str) -> LeftOutRow:
    """Return the record of a head that has no row."""
    return LeftOutRow(
        checkpoint=subject.name,
        img_size=subject.img_size,
        taps=tuple(tap.path for tap in candidate.plan.taps),
        head=candidate.plan.spec,
        label=candidate.label,
        reason=reason,
    )
