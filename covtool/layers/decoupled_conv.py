"""Decoupled convolution: a norm's function times an angle's, from a convolution's weights."""

import torch
from torch import Tensor, nn

from covtool.layers.conv_operator import ConvOperator
from covtool.ops.angular import ANGULAR_ACTIVATIONS
from covtool.ops.decoupled import decoupled_conv2d, patch_norm
from covtool.ops.decoupling import Decoupling
from covtool.ops.filters import WEIGHTINGS, filter_norm, gradient_times_norm
from covtool.ops.magnitudes import MAGNITUDES, negligible
from covtool.ops.precision import autocast_device
from covtool.specs import ConvolutionSpec

MOMENTUM = 0.01
"""Momentum of the running mean, once 100 batches are averaged. The authors' code divides by the
batch's own mean in training and keeps a running one, 0.001 of each batch, for evaluation."""


class DecoupledConv2d(ConvOperator):
    """α h(‖x‖) g(θ) for each patch x and filter, with an optional weight for its norm.

    ``linear`` with ``cosine`` and linear weighting is the convolution itself.

    Attributes:
        alpha: α, shape () or (O,).
        log_radius: Logarithm of ρ, shape () or (O,): a parameter where it is trained, else a
            buffer; absent where h has no ρ.
        norm_mean: Running mean of ‖x‖, shape (), that ρ is measured in; absent where ρ is
            measured in itself. In training it is the mean over the first 100 batches, then a
            moving average; no gradient passes through it.

    Raises:
        UnknownVariantError: There is no such magnitude, angular activation or weighting.

    Source:
        Liu, Liu, Yu, Dai, Lin, Liu, Rehg, Song. "Decoupled Networks", CVPR 2018.

    Example:
        >>> from covtool.specs import ConvolutionSpec
        >>> conv = torch.nn.Conv2d(8, 16, 3, stride=2, padding=1)
        >>> spec = ConvolutionSpec(conv="tanh", radius=4.0, unit="none")
        >>> DecoupledConv2d.from_conv(conv, spec)(torch.rand(2, 8, 12, 12)).shape
        torch.Size([2, 16, 6, 6])
    """

    moving_buffers = ("norm_mean",)  # that follow the batches in training
    buffers_move = True  # not where a batch is computed again: ρ is what it was the first time

    log_radius: Tensor
    norm_mean: Tensor
    num_batches_tracked: Tensor

    def __init__(self, *shape: object, **settings: object) -> None:
        super().__init__(*shape, **settings)
        spec = self.spec
        self._magnitude = MAGNITUDES[spec.conv]
        self._angular = ANGULAR_ACTIVATIONS[spec.angular]
        self._weighting = WEIGHTINGS[spec.weighting]
        self._beta = self._magnitude.beta if spec.beta is None else spec.beta
        if self._magnitude.takes_radius:
            start = self.weight.new_full(self._per(spec.radius_per), spec.radius).log()
            # Its logarithm is trained: ρ stays positive whatever the step.
            if spec.learn_radius:
                self.log_radius = nn.Parameter(start)
            else:
                self.register_buffer("log_radius", start)
            if spec.unit == "running-mean":
                self.register_buffer("norm_mean", self.weight.new_ones(()))
                batches = self.weight.new_zeros((), dtype=torch.long)
                self.register_buffer("num_batches_tracked", batches)

    def response(self, features: Tensor) -> Tensor:
        """Return α h(‖x‖) g(θ) times the weighting, (B, O, H', W')."""
        features, geometry = self.placed(features)
        filters, functions = self.filters(), self._functions()
        if self.spec.weighted_gradients:
            filters = gradient_times_norm(filters)
        directions = self.scaled(self._weighting.function(filters))
        if functions.magnitude is None or functions.angular or not _in_float16(features):
            return decoupled_conv2d(features, directions, functions, geometry)
        # α is about ρ: with it, the product would overflow where the convolution's does not.
        factor = (filter_norm(directions.float()) / filter_norm(filters.float()))[:, 0]
        return decoupled_conv2d(features, filters, functions._replace(factor=factor), geometry)

    @property
    def follows_batches(self) -> bool:
        """Whether ρ is measured in a mean that follows the batches in training."""
        return hasattr(self, "norm_mean")

    @property
    def has_radius(self) -> bool:
        """Whether the magnitude depends on ρ."""
        return self._magnitude.takes_radius

    def norms(self, features: Tensor) -> Tensor:
        """Return ‖x‖ of every patch, (B, groups, H', W')."""
        features, geometry = self.placed(features)
        return patch_norm(features, self.kernel_size, geometry)

    def radius(self) -> Tensor:
        """Return ρ in the units of the features, shape () or (O,)."""
        radius = self.log_radius.exp()
        if not hasattr(self, "norm_mean"):
            return radius
        return radius * self.norm_mean.clone()  # which the next batch changes before the backward

    @torch.no_grad()
    def set_radius_(self, radius: Tensor, mean_norm: Tensor) -> None:
        """Set ρ, given in the units of the features.

        Args:
            radius: Positive, shape () or (O,), as `log_radius` has it.
            mean_norm: Mean of ‖x‖, which becomes the unit where there is one.
        """
        if hasattr(self, "norm_mean"):
            mean_norm = mean_norm.clamp_min(negligible(self.norm_mean.dtype))
            self.norm_mean.copy_(mean_norm)
            self.num_batches_tracked.fill_(round(1 / MOMENTUM))  # as if it had settled
            radius = radius / mean_norm
        self.log_radius.copy_(radius.log())

    @classmethod
    def describe(cls, spec: ConvolutionSpec) -> str:
        """Return magnitude, angular activation and weighting, as text."""
        weighting = "" if spec.weighting == "none" else f", {spec.weighting} in ‖w‖"
        return f"{spec.conv} {spec.angular}{weighting}"

    def _functions(self) -> Decoupling:
        """Return h and g; None for a convolution's own, which need no computing."""
        follows = self.training and self.buffers_move and self.follows_batches
        return Decoupling(
            magnitude=None if self.spec.conv == "linear" else self._magnitude,
            angular=None if self.spec.angular == "cosine" else self._angular,
            radius=self._radius_by_filter if self.has_radius else None,
            follow=self._follow if follows else None,
            beta=self._beta or 0.0,
            k=self.spec.k,
        )

    def _radius_by_filter(self) -> Tensor:
        return self.radius().reshape(-1, 1, 1)

    @torch.no_grad()
    def _follow(self, norm: Tensor) -> None:
        """Let the running mean follow the norms of a pass."""
        batches = (self.num_batches_tracked + 1).to(self.norm_mean)
        mean = norm.mean().to(self.norm_mean).clamp_min(negligible(self.norm_mean.dtype))
        self.norm_mean.lerp_(mean, batches.reciprocal().clamp_min(MOMENTUM))
        self.num_batches_tracked.add_(1)


def _in_float16(features: Tensor) -> bool:
    """Return whether a convolution of these features is computed in float16."""
    kind = autocast_device(features)
    return (
        torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else features.dtype
    ) == torch.float16
