"""A convolution whose product of patch and filter is another operator; its weights are kept."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from covtool.layers.conv_source import ConvKind, kind_of
from covtool.layers.graph_leaf import as_leaf
from covtool.ops.filters import standardize_filters
from covtool.ops.patches import Geometry
from covtool.specs import ConvolutionSpec


class ConvOperator(nn.Conv2d):
    """Base of all operators that take the place of a convolution.

    ``forward`` is ``response(features)`` plus the bias. The filters and the bias are parameters
    under the names that they have in `torch.nn.Conv2d`, so a state dict fits either.

    Args:
        in_channels: Channels of the input, C.
        out_channels: Filters, O.
        kernel_size: Height and width.
        spec: The operator and its options.
        kind: Kind of padding, and whether the filters are standardized first.
        settings: Stride, padding, dilation, groups, bias, padding_mode.

    Attributes:
        alpha: Scale α, shape () or (O,).

    Shape:
        (B, C, H, W) -> (B, O, H', W'), as the convolution has it.
    """

    alpha: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        spec: ConvolutionSpec | None = None,
        kind: ConvKind | None = None,
        **settings: object,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **settings)
        self.spec, self.kind = spec or ConvolutionSpec(), kind or ConvKind()
        # `from_conv` takes these from a convolution that standardizes its filters.
        self.eps, self.filter_scale = 1e-6, 1.0
        shape = self._per(self.spec.scale_per or "layer")
        self.register_buffer("alpha", self.weight.new_full(shape, self.spec.scale))

    @classmethod
    def from_conv(cls, conv: nn.Conv2d, spec: ConvolutionSpec | None = None) -> Self:
        """Return the operator with a copy of a convolution's weights and all of its geometry.

        Args:
            conv: `torch.nn.Conv2d`, or timm's Conv2dSame, StdConv2d, ScaledStdConv2d and their
                SAME forms. Not modified.
            spec: The operator and its options.

        Raises:
            SurgeryError: `conv` is of another class, or its weight is computed.
        """
        kind = cls.kind_for(conv)
        made = cls(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            spec=spec,
            kind=kind,
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
            groups=conv.groups,
            bias=conv.bias is not None,
            padding_mode=conv.padding_mode,
            device=conv.weight.device,
            dtype=conv.weight.dtype,
        )
        if kind.standardized:
            made.eps = conv.eps
        if kind.gain:
            made.filter_scale = conv.scale
            made.gain = nn.Parameter(torch.empty_like(conv.gain))
        with torch.no_grad():
            # By name: weight and bias, and the gain of a scaled standardized convolution.
            for name, parameter in conv.named_parameters():
                getattr(made, name).copy_(parameter)
                getattr(made, name).requires_grad_(parameter.requires_grad)
        return made.to(conv.weight.device, conv.weight.dtype).train(conv.training)

    @classmethod
    def kind_for(cls, conv: nn.Conv2d) -> ConvKind:
        """Return how `conv` pads and what it does to its filters.

        Raises:
            SurgeryError: This operator cannot take its place.
        """
        return kind_of(conv)

    def forward(self, features: Tensor) -> Tensor:
        """Return the operator's response, with the bias."""
        if (node := as_leaf(self, features)) is not None:
            return node
        response = self.response(features)
        if self.bias is None:
            return response
        return response + self.bias.to(response.dtype)[:, None, None]

    def response(self, features: Tensor) -> Tensor:
        """Return the operator's response without the bias, (B, O, H', W')."""
        raise NotImplementedError

    def filters(self) -> Tensor:
        """Return the filters that the convolution had: the weight, standardized where it did so."""
        if not self.kind.standardized:
            return self.weight
        standardized = standardize_filters(self.weight, eps=self.eps)
        return standardized * (self.gain * self.filter_scale) if self.kind.gain else standardized

    def convolve(self, features: Tensor) -> Tensor:
        """Return the response of the original convolution, without its bias."""
        features, geometry = self.placed(features)
        return F.conv2d(features, self.filters(), None, *geometry)

    def placed(self, features: Tensor) -> tuple[Tensor, Geometry]:
        """Return the features, padded where torch's convolution cannot do it, and the geometry."""
        padding = self.padding
        if self.kind.same:
            # Its amounts depend on the input and may differ by side, which conv2d cannot express.
            features, padding = F.pad(features, self._same_padding(features)), (0, 0)
        elif self.padding_mode != "zeros":
            # torch's own, in the order of `F.pad`: the last axis first.
            amounts = self._reversed_padding_repeated_twice
            features = F.pad(features, amounts, mode=self.padding_mode)
            padding = (0, 0)
        return features, Geometry(self.stride, padding, self.dilation, self.groups)

    @classmethod
    def describe(cls, spec: ConvolutionSpec) -> str:
        """Return a short description of the operator of a spec."""
        return spec.conv

    @property
    def operator(self) -> str:
        """Short description of the operator."""
        return self.describe(self.spec)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, operator={self.operator}"

    def _per(self, per: str) -> tuple[int, ...]:
        return (self.out_channels,) if per == "filter" else ()

    def scaled(self, filters: Tensor) -> Tensor:
        """Return filters times α."""
        return filters * self.alpha.reshape(-1, 1, 1, 1)

    def _same_padding(self, features: Tensor) -> list[int]:
        """Return TensorFlow's SAME: as many zeros as give ceil(size / stride), the odd one last."""
        amounts: list[int] = []
        for axis in (1, 0):  # F.pad takes the last axis first
            size, stride = features.shape[2 + axis], self.stride[axis]
            extent = self.dilation[axis] * (self.kernel_size[axis] - 1) + 1
            # -(-a // b) rounds up, without a float.
            total = max((-(-size // stride) - 1) * stride + extent - size, 0)
            amounts += [total // 2, total - total // 2]
        return amounts
