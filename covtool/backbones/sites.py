"""Sites of a model: its pooling, its classifier, the feature maps before them."""

from dataclasses import dataclass

from timm.layers import SelectAdaptivePool2d
from torch import nn

from covtool.backbones.feature_maps import FeatureMap, MapReader
from covtool.backbones.slots import MapPooling, TokenPooling, install_pooling_slot
from covtool.backbones.tracing import Call, Tracer, chain_before, trace_black_image
from covtool.errors import SurgeryError, UnknownVariantError
from covtool.layers.neck import NeckPooling

# Poolings by class. A NeckPooling counts as one: a new head replaces the neck with it.
_POOLINGS = (nn.AdaptiveAvgPool2d, SelectAdaptivePool2d, TokenPooling, MapPooling, NeckPooling)


_OTHERS = (
    "Its convolutions can be converted (--conv). For another head, choose an architecture for "
    "which covtool inspect shows sites."
)


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
        """Return the feature map that `path` puts out; the default one for None.

        Raises:
            UnknownVariantError: `path` is not a module on the way to the pooling.
        """
        if path is None:
            return self.default_tap
        for feature_map in reversed(self.trunk):
            if feature_map.path == path or feature_map.path.startswith(path + "."):
                return feature_map
        raise UnknownVariantError("feature map", path, tuple(m.path for m in self.taps))

    def after(self, tap: FeatureMap) -> tuple[str, ...]:
        """Return paths of the modules between a tap and the pooling, in order."""
        paths = [m.path for m in self.trunk]
        return tuple(paths[paths.index(tap.path) + 1 :])


def find_sites(
    model: nn.Module,
    size: tuple[int, int] = (224, 224),
    channels: int = 3,
    *,
    trace: Tracer = trace_black_image,
) -> Sites:
    """Find the sites of a model by running it once on a black image.

    Args:
        model: A timm or torchvision classifier with `covtool.backbones.slots` in place, as
            `create_model` returns it. Left as it is.
        size: Height and width of the image, in pixels.
        channels: Channels of the image.
        trace: What runs the model; `traced_once` where other findings want the same calls.

    Raises:
        SurgeryError: The model has no linear classifier, or several, or no pooling module before
            it.
    """
    install_pooling_slot(model)
    _require_one_classifier(model)
    calls, _ = trace(model, size, channels)
    classifier = _classifier(model, calls)
    chain = chain_before(calls, classifier)
    # timm counts class and register tokens; torchvision's transformers have one class token.
    prefix = getattr(model, "num_prefix_tokens", 1 if hasattr(model, "class_token") else 0)
    reader = MapReader(size, prefix)
    at = _pooling_position(model, chain, reader)
    feature_maps = reader.trunk(_atoms(model, calls, chain[at + 1 :]), chain[at])
    if not feature_maps:
        raise SurgeryError(
            f"What enters the pooling of {type(model).__name__} is not a module's output.",
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


def _require_one_classifier(model: nn.Module) -> None:
    """Refuse distilled and multi-scale models, by what timm declares: one head is not all."""
    declared = getattr(model, "pretrained_cfg", {}).get("classifier") or ()
    if isinstance(declared, str):
        return
    modules = dict(model.named_modules())
    heads = [path for path in declared if path in modules and _has_weights(modules[path])]
    if len(heads) > 1:
        raise SurgeryError(
            f"{type(model).__name__} has {len(heads)} classifiers: {', '.join(heads)}.",
            reason="It answers with all of them together, and covtool replaces one.",
            hint=_OTHERS,
        )


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _classifier(model: nn.Module, calls: list[Call]) -> Call:
    candidates = [c for c in calls if _is_head_module(model.get_submodule(c.path))]
    if not candidates:
        raise SurgeryError(f"{type(model).__name__} has no linear classifier.")
    # Calls are in the order in which they end: the last one gives the logits.
    last = candidates[-1]
    layer = model.get_submodule(last.path)
    if not isinstance(layer, nn.Linear) or len(last.shape) != 2:
        raise SurgeryError(
            f"The last layer of {type(model).__name__}, {last.path!r}, is a "
            f"{type(layer).__name__} with output {last.shape}, not a Linear layer for classes.",
            reason="covtool can replace heads of the form pooling + one Linear layer.",
            hint=_OTHERS,
        )
    return last


def _is_head_module(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | nn.Conv2d)


def _pooling_position(model: nn.Module, chain: list[Call], reader: MapReader) -> int:
    """Return where in a chain (nearest to the classifier first) the pooling is."""

    def reduces(call: Call) -> bool:
        return reader.positions(call.source_shape) > 1 >= reader.positions(call.shape)

    def module(call: Call) -> nn.Module:
        return model.get_submodule(call.path)

    kinds = (  # a strided stage may end in one position too, so what is known goes first
        lambda call: isinstance(module(call), _POOLINGS),
        lambda call: reduces(call) and not _has_weights(module(call)),
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
        hint=_OTHERS,
    )


def _atoms(model: nn.Module, calls: list[Call], chain: list[Call]) -> list[Call]:
    """Return the calls of a chain in order, with Sequential containers opened."""
    atoms: list[Call] = []
    for call in reversed(chain):
        inner = _inner_chain(model, calls, call)
        atoms.extend(_atoms(model, calls, inner) if inner else [call])
    return atoms


def _inner_chain(model: nn.Module, calls: list[Call], call: Call) -> list[Call]:
    """Return the calls of a Sequential's children, last first; none if they are no plain chain."""
    container = model.get_submodule(call.path)
    if not isinstance(container, nn.Sequential) or not len(container):
        return []
    names = {f"{call.path}.{name}" for name, _ in container.named_children()}
    # Nested in time: a container that is run twice has its children's calls twice.
    inner = [c for c in calls if c.path in names and call.start < c.start and c.end < call.end]
    return inner[::-1] if len(inner) == len(names) else []
