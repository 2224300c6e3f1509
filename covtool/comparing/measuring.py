"""The rows of one network: each head fitted on kept maps, and what its model costs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from covtool.comparing.candidates import Candidate, Subject
from covtool.comparing.costs import Costs, measure_costs
from covtool.comparing.head_on_maps import HeadOnMaps, KeptBatches
from covtool.comparing.map_store import MapStore
from covtool.comparing.passes import map_names
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
        costs: What the converted network costs.
    """

    subject: Subject
    candidate: Candidate
    values: Tensor
    figure: float
    rank_1: float | None
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
    """

    candidate: Candidate
    converted: nn.Module
    head: HeadOnMaps
    values: Tensor
    figure: float
    rank_1: float | None = None


def measure_rows(
    subject: Subject, store: MapStore, how: Measuring
) -> Iterator[MeasuredRow | LeftOutRow]:
    """Yield the row of each head of a network, or why it has none.

    Args:
        subject: The network, on the CPU.
        store: Its maps.
        how: How rows are measured.
    """
    for fit in fitted_rows(subject, store, how):
        if isinstance(fit, LeftOutRow):
            yield fit
            continue
        with how.watch.of("speed"):
            costs = measure_costs(fit.converted, subject.opened.recipe.input, how.device)
        yield MeasuredRow(
            subject=subject,
            candidate=fit.candidate,
            values=fit.values,
            figure=fit.figure,
            rank_1=fit.rank_1,
            costs=costs,
        )


def fitted_rows(
    subject: Subject, store: MapStore, how: Measuring
) -> Iterator[FittedHead | LeftOutRow]:
    """Yield each head of a network, fitted, or why it cannot be; see `measure_rows`."""
    moments: dict[str, ChannelMoments] = {}
    title = f"{subject.prefix}heads"
    for candidate in how.track(subject.candidates, title, len(subject.candidates)):
        with how.watch.of("heads"):
            converted = _converted(subject.opened.model, candidate)
            fit = _or_reason(partial(_fitted, candidate, converted, store, moments, how))
        if isinstance(fit, str):
            yield _without_row(subject, candidate, fit)
            continue
        yield fit


def _converted(model: nn.Module, candidate: Candidate) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(CONVERT_SEED)
        return apply_head(model, candidate.plan).eval()


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
        values=fit.right.double().cpu(),
        figure=fit.result.left_out_top_1,
    )
    return fitted if how.search is None else _searched(fitted, how.search, store)


@torch.inference_mode()
def _searched(fitted: FittedHead, search: TrainingSearch, store: MapStore) -> FittedHead:
    """Return a head with the figures of a search for the training images."""
    features = torch.cat([fitted.head.features(i).cpu() for i in range(store.batches)])
    found = search.estimate(features)
    return replace(
        fitted,
        values=found.average_precisions,
        figure=found.mean_average_precision,
        rank_1=found.rank_1,
    )


def _or_reason(fit: Callable[[], FittedHead]) -> FittedHead | str:
    """Return a fit, or why these features allow none: that is an answer, not an abort."""
    try:
        return fit()
    except (ArgumentError, NonFiniteError) as problem:
        return " ".join(part for part in (problem.message, problem.reason) if part)
    except torch.linalg.LinAlgError:
        return "Its features are not finite on these images, or the solver finds no solution."


def _without_row(subject: Subject, candidate: Candidate, reason: str) -> LeftOutRow:
    return LeftOutRow(
        checkpoint=subject.name,
        img_size=subject.img_size,
        taps=tuple(tap.path for tap in candidate.plan.taps),
        head=candidate.plan.spec,
        label=candidate.label,
        reason=reason,
    )
