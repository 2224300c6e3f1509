"""Where a model can be operated on: its pooling, its classifier, the feature maps before them."""

from dataclasses import dataclass
from typing import Literal

from timm.layers import SelectAdaptivePool2d
from torch import nn

from covtool.backbones.slots import MapPooling, TokenPooling, install_pooling_slot
from covtool.backbones.tracing import Call, chain_before, trace_black_image
from covtool.errors import SurgeryError, UnknownVariantError
from covtool.layers.neck import NeckPooling

Layout = Literal["NCHW", "NHWC", "NLC"]

_POOLINGS = (nn.AdaptiveAvgPool2d, SelectAdaptivePool2d, TokenPooling, MapPooling, NeckPooling)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMap:
    """A tensor of local features.

    Attributes:
        path: Module whose output it is; empty for what enters the pooling.
        channels: Features at each position.
        positions: Height times width, or the number of patch tokens.
        layout: Order of the axes.
        num_prefix_tokens: Class and register tokens at the front of an NLC map, not positions.
    """

    path: str
    channels: int
    positions: int
    layout: Layout
    num_prefix_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sites:
    """What surgery needs to know about a model.

    Attributes:
        pooling: Path of the module that turns the last feature map into a vector.
        classifier: Path of the linear layer that gives the logits.
        in_features: Inputs of the classifier.
        num_classes: Its outputs.
        tail: Paths of the modules between pooling and classifier, in order.
        trunk: Feature maps on the way to the pooling, in order; each can be tapped, and the
            modules after it form a plain chain.
    """

    pooling: str
    classifier: str
    in_features: int
    num_classes: int
    tail: tuple[str, ...]
    trunk: tuple[FeatureMap, ...]

    @property
    def default_tap(self) -> FeatureMap:
        """The last feature map with more than one position, or the last one."""
        return next((m for m in reversed(self.trunk) if m.positions > 1), self.trunk[-1])

    @property
    def taps(self) -> tuple[FeatureMap, ...]:
        """The last feature map of each resolution and width: where tapping makes a difference."""
        kinds = [(m.channels, m.positions) for m in self.trunk]
        return tuple(
            m
            for m, kind, following in zip(self.trunk, kinds, [*kinds[1:], None], strict=True)
            if kind != following and m.positions > 1
        )

    def tap(self, path: str | None) -> FeatureMap:
        """The feature map that `path` puts out; the default one for None.

        Raises:
            UnknownVariantError: `path` is no module on the way to the pooling.
        """
        if path is None:
            return self.default_tap
        for feature_map in reversed(self.trunk):
            if feature_map.path == path or feature_map.path.startswith(path + "."):
                return feature_map
        raise UnknownVariantError("feature map", path, tuple(m.path for m in self.taps))

    def after(self, tap: FeatureMap) -> tuple[str, ...]:
        """Paths of the modules between a tap and the pooling, in order."""
        paths = [m.path for m in self.trunk]
        return tuple(paths[paths.index(tap.path) + 1 :])


def find_sites(model: nn.Module, size: tuple[int, int] = (224, 224), channels: int = 3) -> Sites:
    """Find the sites of a model by running it once on a black image.

    Args:
        model: A timm or torchvision classifier with `covtool.backbones.slots` in place, as
            `create_model` returns it. Left as it is.
        size: Height and width of the image, in pixels.
        channels: Of the image.

    Raises:
        SurgeryError: The model has no linear classifier, or no pooling module before it.
    """
    install_pooling_slot(model)
    calls, _ = trace_black_image(model, size, channels)
    classifier = _classifier(model, calls)
    chain = chain_before(calls, classifier)
    prefix = getattr(model, "num_prefix_tokens", 1 if hasattr(model, "class_token") else 0)
    at = _pooling_position(model, chain, prefix, size)
    trunk = _atoms(model, calls, chain[at + 1 :])
    feature_maps = tuple(
        _feature_map(c.path, c.shape, prefix, size) for c in trunk if len(c.shape) > 2
    )
    if not feature_maps:
        raise SurgeryError(
            f"What enters the pooling of {type(model).__name__} is no module's output.",
            reason="There is no feature map to pool.",
        )
    layer = model.get_submodule(classifier.path)
    return Sites(
        pooling=chain[at].path,
        classifier=classifier.path,
        in_features=layer.in_features,
        num_classes=layer.out_features,
        tail=tuple(c.path for c in reversed(chain[:at])),
        trunk=feature_maps,
    )


def _classifier(model: nn.Module, calls: list[Call]) -> Call:
    candidates = [c for c in calls if _is_head_module(model.get_submodule(c.path))]
    if not candidates:
        raise SurgeryError(f"{type(model).__name__} has no linear classifier.")
    last = candidates[-1]
    layer = model.get_submodule(last.path)
    if not isinstance(layer, nn.Linear) or len(last.shape) != 2:
        raise SurgeryError(
            f"The last layer of {type(model).__name__}, {last.path!r}, is a "
            f"{type(layer).__name__} with output {last.shape}, not a Linear layer for classes.",
            reason="covtool can replace heads of the form pooling + one Linear layer.",
        )
    return last


def _is_head_module(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Conv2d)


def _pooling_position(
    model: nn.Module, chain: list[Call], prefix: int, size: tuple[int, int]
) -> int:
    """Where in a chain (nearest to the classifier first) the pooling is."""

    def reduces(call: Call) -> bool:
        before, after = (_positions(s, prefix, size) for s in (call.source_shape, call.shape))
        return before > 1 >= after

    def module(call: Call) -> nn.Module:
        return model.get_submodule(call.path)

    kinds = (  # a strided stage may end in one position too, so what is known goes first
        lambda call: isinstance(module(call), _POOLINGS),
        lambda call: reduces(call) and not any(True for _ in module(call).parameters()),
        reduces,
    )
    for is_pooling in kinds:
        found = next((index for index, call in enumerate(chain) if is_pooling(call)), None)
        if found is not None:
            return found
    raise SurgeryError(
        f"{type(model).__name__} has no pooling module between its features and its classifier.",
        reason="It pools inside a function, or combines several branches, that covtool "
        "does not know.",
    )


def _atoms(model: nn.Module, calls: list[Call], chain: list[Call]) -> list[Call]:
    """The calls of a chain in order, with Sequential containers opened."""
    atoms: list[Call] = []
    for call in reversed(chain):
        inner = _inner_chain(model, calls, call)
        atoms.extend(_atoms(model, calls, inner) if inner else [call])
    return atoms


def _inner_chain(model: nn.Module, calls: list[Call], call: Call) -> list[Call]:
    """The calls of a Sequential's children, last first; empty where they are no plain chain."""
    container = model.get_submodule(call.path)
    if not isinstance(container, nn.Sequential) or not len(container):
        return []
    names = {f"{call.path}.{name}" for name, _ in container.named_children()}
    inner = [c for c in calls if c.path in names and call.start < c.start and c.end < call.end]
    return inner[::-1] if len(inner) == len(names) else []


def _positions(shape: tuple[int, ...], prefix: int, size: tuple[int, int]) -> int:
    if len(shape) == 3:
        return shape[1] - prefix
    if len(shape) == 4:
        channels_last = _is_channels_last(shape, size)
        return shape[1] * shape[2] if channels_last else shape[2] * shape[3]
    return 1


def _is_channels_last(shape: tuple[int, ...], size: tuple[int, int]) -> bool:
    # Channels outnumber neither side of a map only in the first layers; its proportions decide.
    return _is_proportional(shape[1:3], size) and not _is_proportional(shape[2:4], size)


def _is_proportional(sides: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Whether a map's sides are in the proportion of the image's, but for rounding."""
    if size[0] == size[1]:
        return sides[0] == sides[1]
    return abs(sides[0] * size[1] - sides[1] * size[0]) < max(size)


def _feature_map(
    path: str, shape: tuple[int, ...], prefix: int, size: tuple[int, int]
) -> FeatureMap:
    if len(shape) == 3:
        layout, channels = "NLC", shape[2]
    elif _is_channels_last(shape, size):
        layout, channels = "NHWC", shape[3]
    else:
        layout, channels = "NCHW", shape[1]
    return FeatureMap(
        path=path,
        channels=channels,
        positions=_positions(shape, prefix, size),
        layout=layout,
        num_prefix_tokens=prefix if layout == "NLC" else 0,
    )
