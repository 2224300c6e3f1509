"""Patches of a convolution: where they lie, and the sums of their squares."""

from types import EllipsisType
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

_GROUPS = 8
"""From so many maps on, torch's depthwise convolution is the faster way to add up patches."""


class Geometry(NamedTuple):
    """Placement of a convolution's kernel, in torch's terms."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] | str = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


def convolve(features: Tensor, filters: Tensor, geometry: Geometry) -> Tensor:
    """Return the convolution without a bias, (B, O, H', W')."""
    stride, padding, dilation, groups = geometry
    return F.conv2d(features, filters, None, stride, padding, dilation, groups)


def kernel_size(filters: Tensor) -> tuple[int, int]:
    """Return height and width of filters (O, I, kH, kW)."""
    height, width = filters.shape[2:]
    return height, width


def with_amounts(
    features: Tensor, kernel: tuple[int, int], geometry: Geometry
) -> tuple[Tensor, Geometry]:
    """Return features and a geometry whose padding is in numbers, as torch's words have it.

    The features are padded here where the two sides differ.
    """
    if not isinstance(geometry.padding, str):
        return features, geometry
    if geometry.padding == "valid":
        return features, geometry._replace(padding=(0, 0))
    totals = [d * (k - 1) for d, k in zip(geometry.dilation, kernel, strict=True)]
    if all(total % 2 == 0 for total in totals):
        return features, geometry._replace(padding=(totals[0] // 2, totals[1] // 2))
    # F.pad takes the last axis first; the odd zero comes last, as torch has it.
    amounts = [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
    return F.pad(features, amounts), geometry._replace(padding=(0, 0))


class Box(NamedTuple):
    """A box filter over maps of energies (b, G, H, W).

    torch's convolution takes ten times as long for a single map as for each of many: a few maps
    are added up slice by slice.

    Attributes:
        kernel: Height and width.
        stride, padding, dilation: As a convolution has them, padding in numbers.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @classmethod
    def of(cls, kernel: tuple[int, int], geometry: Geometry) -> "Box":
        """Return the box under a convolution's kernel."""
        stride, padding, dilation, _ = geometry
        assert not isinstance(padding, str)  # `with_amounts` has been there
        return cls(kernel, stride, padding, dilation)

    def sums(self, maps: Tensor) -> Tensor:
        """Return the sum over each patch, (b, G, H', W'); the maps themselves for a 1x1 box."""
        groups = maps.shape[1]
        if groups >= _GROUPS and self.kernel != (1, 1) and min(self.padding) >= 0:
            ones = maps.new_ones((groups, 1, *self.kernel))
            return F.conv2d(maps, ones, None, self.stride, self.padding, self.dilation, groups)
        if any(self.padding):
            height, width = self.padding
            maps = F.pad(maps, (width, width, height, height))
        # One axis after the other: k + k additions in place of k times k.
        for axis in (-1, -2):
            first, *others = (maps[where] for where in self._places(maps.shape[axis], axis))
            if others:
                total = first + others[0]
                for other in others[1:]:
                    total += other
                maps = total
            else:
                maps = first
        return maps

    def spread(self, sums: Tensor, height: int, width: int) -> Tensor:
        """Return the adjoint of `sums`: each number at every place of its patch, added up."""
        if self.stride == (1, 1):
            # The box is symmetric: its adjoint is the box itself, over as many zeros as are left.
            axes = zip(self.kernel, self.padding, self.dilation, strict=True)
            left = tuple(d * (k - 1) - p for k, p, d in axes)
            return self._replace(padding=(left[0], left[1])).sums(sums)
        for axis, side in ((-2, height), (-1, width)):
            padding = self.padding[axis]
            extent = side + 2 * padding
            places = self._places(extent, axis)
            if len(places) == 1 and sums.shape[axis] == extent and not padding:
                continue
            shape = list(sums.shape)
            shape[axis] = extent
            spread = sums.new_zeros(shape)
            for where in places:
                spread[where] += sums
            sums = spread.narrow(axis, padding, side)
        return sums

    def _places(self, extent: int, axis: int) -> list[tuple[EllipsisType | slice, ...]]:
        """Return, for each row or column of the kernel, the numbers that it meets."""
        stride, dilation, size = self.stride[axis], self.dilation[axis], self.kernel[axis]
        count = (extent - dilation * (size - 1) - 1) // stride + 1
        rest = (slice(None),) * (-1 - axis)
        return [
            (..., slice(start, start + (count - 1) * stride + 1, stride), *rest)
            for start in range(0, size * dilation, dilation)
        ]


def by_group(maps: Tensor, groups: int) -> Tensor:
    """Return a view (B, groups, C / groups, H, W) of maps (B, C, H, W)."""
    grouped: Tensor = maps.unflatten(1, (groups, -1))
    return grouped


def energies(features: Tensor, box: Box, groups: int) -> Tensor:
    """Return the sum of squares of each patch of features (B, C, H, W), (B, groups, H', W')."""
    squares = by_group(features * features, groups)
    # Depthwise: each channel is a group, and there is nothing to add up.
    return box.sums(squares.sum(2) if squares.shape[2] > 1 else squares.squeeze(2))
