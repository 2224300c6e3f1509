"""Set the operators of a converted network from images, so that they follow its convolutions.

One forward pass over all images at once sets everything in the order in which it is used: when a
layer's input arrives, it comes from layers that are set already. The radius is a quantile of the
norms of that input; α is the least-squares factor, filter by filter, between the operator's answer
and the convolution's on that input. A batch norm is corrected when its input arrives, by how its
statistics differ from those of the original network on the same images: that leaves the statistics
of the training set in place as far as they still hold, where ten classes of images would bias them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from covtool.layers.conv_operator import ConvOperator
from covtool.layers.decoupled_conv import DecoupledConv2d
from covtool.ops.magnitudes import NEGLIGIBLE
from covtool.progress import Track, silent
from covtool.surgery.convolutions import ConvolutionsPlan

CHUNK = 16  # images at a time, where a layer's sums are taken
# Channels with less are constant: the ratio of two such variances is noise.
_LEAST_VARIANCE = 1e-12

Statistics = tuple[Tensor, Tensor]
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerFit:
    """How well an operator follows the convolution whose place it took.

    Attributes:
        path: Path of the layer.
        operator: Operator that it is now, in a few words.
        radius: ρ in the units of its input, the mean over filters; None without one.
        beyond: Share of the patches whose norm is larger than ρ, percent; None without one.
        relative_error: Norm of the difference of the answers over that of the convolution's, both
            on the converted network's features and without the bias.
    """

    path: str
    operator: str
    radius: float | None
    beyond: float | None
    relative_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvCalibration:
    """Result of `calibrate_convolutions_`.

    Attributes:
        images: Number of images that it was done with.
        radius_quantile: Share of the patches whose norms lie within the radius.
        layers: Fit of each operator, in the order in which they are run.
        batch_norms: Paths of the batch norms that were corrected.
    """

    images: int
    radius_quantile: float
    layers: tuple[LayerFit, ...]
    batch_norms: tuple[str, ...]


@torch.no_grad()
def calibrate_convolutions_(
    model: nn.Module,
    source: nn.Module,
    plan: ConvolutionsPlan,
    images: Tensor,
    *,
    radius_quantile: float,
    track: Track = silent,
) -> ConvCalibration:
    """Set α, ρ and the batch norms of a converted network, in place.

    Args:
        model: Result of `apply_convolutions` for `plan`; in eval mode.
        source: The network before; in eval mode, on the same device. Left as it is.
        plan: The plan.
        images: Normalized, (B, C, H, W), on that device: all at once.
        radius_quantile: Share of the patches whose norms lie within ρ, in (0, 1].
        track: Shows the progress, layer by layer.
    """
    recording = _Recording()
    with _watched(source, _BatchNorm, recording):
        source(images)
    steps = track(plan.layers, "calibrating operators", len(plan.layers))
    fitting = _Fitting({site.path for site in plan.layers}, radius_quantile, steps)
    correcting = _Correcting(recording.statistics)
    with _watched(model, ConvOperator, fitting), _watched(model, _BatchNorm, correcting):
        model(images)
    return ConvCalibration(
        images=len(images),
        radius_quantile=radius_quantile,
        layers=tuple(fitting.fits),
        batch_norms=tuple(correcting.corrected),
    )


class _Recording:
    """Remembers mean and variance of each channel of a module's input."""

    def __init__(self) -> None:
        self.statistics: dict[str, Statistics] = {}

    def __call__(self, path: str, norm: nn.Module, features: Tensor) -> None:
        # A norm that is run twice is known by its first input, as `_Correcting` meets it first.
        self.statistics.setdefault(path, _moments(features))


class _Correcting:
    """Moves a batch norm's statistics by as much as its input's have moved."""

    def __init__(self, before: dict[str, Statistics]) -> None:
        self.before = before
        self.corrected: list[str] = []

    def __call__(self, path: str, norm: _BatchNorm, features: Tensor) -> None:
        if path not in self.before or norm.running_mean is None or norm.running_var is None:
            return
        (old_mean, old_variance), (mean, variance) = self.before.pop(path), _moments(features)
        known = (old_variance > _LEAST_VARIANCE) & (variance > _LEAST_VARIANCE)
        ratio = torch.where(known, variance / old_variance.clamp_min(_LEAST_VARIANCE), 1)
        shift = norm.running_mean - old_mean.to(norm.running_mean)
        # The distance of the running mean from the images' mean is kept, in the new deviations.
        norm.running_mean.copy_(mean.to(shift) + shift * ratio.sqrt().to(shift))
        norm.running_var.mul_(ratio.to(shift))
        self.corrected.append(path)


class _Fitting:
    """Sets an operator when its input arrives."""

    def __init__(self, paths: set[str], quantile: float, steps: Iterator[object]) -> None:
        self.paths, self.quantile, self.steps = paths, quantile, steps
        self.fits: list[LayerFit] = []

    def __call__(self, path: str, layer: ConvOperator, features: Tensor) -> None:
        if path not in self.paths:
            return
        self.paths.discard(path)  # a layer that is run twice is set once
        next(self.steps, None)
        radius = beyond = None
        if isinstance(layer, DecoupledConv2d) and layer.has_radius:
            norms = torch.cat([layer.norms(part) for part in features.split(CHUNK)])
            radius = fit_radius(norms, layer.log_radius.shape, self.quantile)
            layer.set_radius_(radius, norms.mean())
            outside = (norms > _for_groups(radius, norms)).sum().item()
            beyond = 100 * outside / norms.numel()
            del norms  # as large as the map, in a depthwise convolution
        error = fit_scale_(layer, features)
        self.fits.append(
            LayerFit(
                path=path,
                operator=layer.operator,
                radius=None if radius is None else radius.mean().item(),
                beyond=beyond,
                relative_error=error,
            )
        )


def fit_radius(norms: Tensor, shape: torch.Size, quantile: float) -> Tensor:
    """Return the quantile of norms (B, G, H, W): one of all, (), or one a filter, (O,)."""
    rows = norms.movedim(1, 0).flatten(1)
    rows = rows if shape else rows.reshape(1, -1)
    # kthvalue takes any number of values; torch.quantile refuses more than 2^24.
    rank = max(1, min(rows.shape[1], round(quantile * rows.shape[1])))
    values = rows.kthvalue(rank, dim=1).values
    largest = rows.amax(dim=1)
    values = torch.where(values > 2 * NEGLIGIBLE, values, largest)  # mostly zero patches
    values = torch.where(values > 2 * NEGLIGIBLE, values, 1)  # nothing but zero patches
    return values.repeat_interleave(shape.numel() // len(values)).reshape(shape)


def fit_scale_(layer: ConvOperator, features: Tensor) -> float:
    """Set α by least squares against the convolution; the relative error that is left."""
    layer.alpha.fill_(1)
    own = torch.zeros(3, layer.out_channels, dtype=torch.float64)
    for part in features.split(CHUNK):
        wanted, given = layer.convolve(part), layer.response(part)
        pairs = ((wanted, given), (given, given), (wanted, wanted))
        own += torch.stack([(a * b).sum(dim=(0, 2, 3)).cpu().double() for a, b in pairs])
    sums = own if layer.alpha.ndim else own.sum(dim=1, keepdim=True)
    products, squares, targets = sums.unbind()
    # A filter that answers nothing on these images has no least-squares factor: α stays 1.
    answers = squares > 0
    alpha = torch.where(answers, products / torch.where(answers, squares, 1), 1)
    layer.alpha.copy_(alpha.reshape(layer.alpha.shape))
    # |wanted - α given|², from the sums alone: no second pass over the images.
    left = (targets - 2 * alpha * products + alpha.square() * squares).sum().clamp_min(0)
    return (left / targets.sum().clamp_min(torch.finfo(torch.float64).tiny)).sqrt().item()


def _for_groups(radius: Tensor, norms: Tensor) -> Tensor:
    """ρ against norms (B, G, H, W): filters of a group have the same."""
    if not radius.ndim:
        return radius
    return radius.reshape(norms.shape[1], -1)[:, :1, None]


def _moments(features: Tensor) -> Statistics:
    variance, mean = torch.var_mean(
        features.float(), dim=[0, *range(2, features.ndim)], correction=0
    )
    return mean, variance


@contextmanager
def _watched(
    model: nn.Module, kind: type[M], watch: Callable[[str, M, Tensor], None]
) -> Iterator[None]:
    """Call ``watch(path, module, input)`` whenever a module of a kind is about to run."""

    def hook(path: str) -> Callable[[M, tuple[Any, ...]], None]:
        return lambda module, arguments: watch(path, module, arguments[0])

    handles = [
        module.register_forward_pre_hook(hook(path))
        for path, module in model.named_modules()
        if isinstance(module, kind)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
