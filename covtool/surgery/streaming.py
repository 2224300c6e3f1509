"""Moments of what modules are given, over all images that stream through a network."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from covtool.ops.precision import in_float64, with_float64
from covtool.processes import Processes
from covtool.progress import Track

Loader = Iterable[tuple[Tensor, Tensor]]
"""Normalized images (b, C, H, W) and labels (b,), the same ones each time it is iterated."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """This process's share of the images with progress, on the model's device."""

    loader: Loader
    track: Track
    batches: int | None
    device: torch.device
    processes: Processes

    def run(self, model: nn.Module, description: str) -> Iterator[Tensor]:
        """Run the model on the images; yields the labels after each batch."""
        for images, labels in self.track(self.loader, description, self.batches):
            model(images.to(self.device))
            yield labels


class Inputs:
    """While it is open, remembers what a module is given."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __enter__(self) -> "Inputs":
        self.handle = self.module.register_forward_pre_hook(self._remember)
        return self

    def __exit__(self, *exception: object) -> None:
        self.handle.remove()

    def _remember(self, module: nn.Module, arguments: tuple[Tensor]) -> None:
        self.last = arguments[0].detach()


class Moments:
    """Mean and covariance of rows that stream by, in float64."""

    def __init__(self, features: int, device: torch.device, *, mixed: bool) -> None:
        zeros = partial(torch.zeros, dtype=torch.float64, device=with_float64(device))
        self.count, self.total = zeros(()), zeros(features)
        self.products = zeros(features, features) if mixed else zeros(features)
        self.mixed = mixed

    def add(self, rows: Tensor) -> None:
        """Take up rows (N, features)."""
        self.count += len(rows)
        self.total += rows.sum(dim=0)
        self.products += rows.mT @ rows if self.mixed else rows.square().sum(dim=0)

    def sums(self) -> list[Tensor]:
        """Return what several processes have to add up."""
        return [self.count, self.total, self.products]

    def central(self) -> tuple[Tensor, Tensor]:
        """Return the mean and the covariance, or without mixed products the variances."""
        # One pass in float64: E[xx'] - mm' cancels, which float32 would not survive.
        mean = self.total / self.count
        square = torch.outer(mean, mean) if self.mixed else mean.square()
        return mean, self.products / self.count - square


def stream_moments_(
    model: nn.Module,
    modules: Sequence[nn.Module],
    moments: Sequence[Moments],
    tracked: Tracked,
    description: str,
) -> None:
    """Add up the moments of what some modules are given, in one pass over all images."""
    with ExitStack() as stack:
        inputs = [stack.enter_context(Inputs(module)) for module in modules]
        for _ in tracked.run(model, description):
            for seen, sums in zip(inputs, moments, strict=True):
                sums.add(in_float64(seen.last).movedim(1, -1).flatten(0, -2))
    tracked.processes.add_([tensor for sums in moments for tensor in sums.sums()])
