"""Feature maps: which axes of a tensor are positions, and which are features."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from covtool.backbones.tracing import Call

Layout = Literal["NCHW", "NHWC", "NLC"]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMap:
    """A tensor of local features.

    Attributes:
        path: Module whose output it is; empty for what enters the pooling.
        channels: Features at each position.
        positions: Height times width, or the number of patch tokens.
        layout: Order of the axes.
        num_prefix_tokens: Class and register tokens at the front of an NLC map, not positions.
        arrives: Order of the axes in which it reaches the pooling where the modules in between do
            nothing: a model may permute them in its own code, as NesT does around its norm.
    """

    path: str
    channels: int
    positions: int
    layout: Layout
    num_prefix_tokens: int = 0
    arrives: Layout


@dataclass(frozen=True, slots=True)
class MapReader:
    """Tells what the axes of a model's tensors are.

    Args:
        size: Height and width of the images: maps have their aspect ratio.
        prefix: Class and register tokens at the front of an NLC map.
    """

    size: tuple[int, int]
    prefix: int

    def positions(self, shape: Shape) -> int:
        """Return positions of a tensor; 1 for a vector."""
        # Tokens (B, N, C), without those that are no place in the image.
        if len(shape) == 3:
            return shape[1] - self.prefix
        if len(shape) == 4:
            return prod(shape[1:3] if self.layout(shape) == "NHWC" else shape[2:])
        return 1

    def layout(self, shape: Shape) -> Layout:
        """Return order of the axes of a tensor of three or four."""
        if len(shape) == 3:
            return "NLC"
        first, last = self._is_map(*shape[1:3]), self._is_map(*shape[2:])
        # Channels outnumber neither side of a map only in the first layers; the ratio decides.
        return "NHWC" if first and not last else "NCHW"

    def _is_map(self, rows: int, columns: int) -> bool:
        height, width = self.size
        # Each side may be rounded up by less than one position.
        return abs(rows * width - columns * height) < max(self.size)

    def trunk(self, calls: Sequence[Call], pooling: Call) -> tuple[FeatureMap, ...]:
        """Return the feature maps among the outputs of a chain that leads to the pooling, in order.

        Those that do not arrive as maps, because a module on the way changes the order of the axes
        and its absence would leave them in the wrong one, are left out.
        """
        found: list[FeatureMap] = []
        for at, call in enumerate(calls):
            arrives = self._arrival(calls[at:], pooling)
            if len(call.shape) > 2 and arrives is not None:
                found.append(self._feature_map(call, arrives))
        return tuple(found)

    def _arrival(self, calls: Sequence[Call], pooling: Call) -> Layout | None:
        """Return the layout in which the first call's output would reach the pooling on its own."""
        current = calls[0].shape
        layout = self.layout(current) if len(current) > 2 else None
        for call, following in zip(calls, [*calls[1:], pooling], strict=True):
            if min(len(call.shape), len(following.source_shape)) < 3:
                continue
            given, wanted = self.layout(call.shape), self.layout(following.source_shape)
            # The axes were permuted between the two modules, in the model's own code. That can be
            # followed only where the first map would have been permuted alike.
            if given != wanted:
                if layout != given:
                    return None
                layout = wanted
        return layout

    def _feature_map(self, call: Call, arrives: Layout) -> FeatureMap:
        layout = self.layout(call.shape)
        return FeatureMap(
            path=call.path,
            channels=call.shape[1] if layout == "NCHW" else call.shape[-1],
            positions=self.positions(call.shape),
            layout=layout,
            num_prefix_tokens=self.prefix if layout == "NLC" else 0,
            arrives=arrives,
        )
