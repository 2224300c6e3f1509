"""The feature maps that a head pools, and the pooling that is made for them."""

from torch import nn

from covtool.backbones.feature_maps import FeatureMap
from covtool.backbones.sites import Sites
from covtool.backbones.tracing import trace_black_image
from covtool.errors import SurgeryError
from covtool.layers.global_pooling import GlobalPooling
from covtool.layers.joint_pooling import JointPooling
from covtool.specs import HeadSpec, InputSpec
from covtool.variants import HEADS

Pooling = GlobalPooling | JointPooling


def tapped_maps(sites: Sites, spec: HeadSpec) -> tuple[FeatureMap, ...]:
    """Return the feature maps that a head pools, in the order in which it names them.

    Raises:
        UnknownVariantError: A name is none of a feature map.
        SurgeryError: Two names are those of one map.
    """
    if not spec.taps:
        return (sites.default_tap,)
    named: dict[str, str] = {}
    maps = []
    for name in spec.taps:
        tap = sites.tap(name)
        if tap.path in named:
            same = named[tap.path]
            raise SurgeryError(
                f"--tap {name} is there twice."
                if name == same
                else f"--tap {same} and --tap {name} are the same map, that of {tap.path!r}.",
                reason="A map that is pooled twice adds features, but nothing that they say.",
                hint="Leave one of them out, or name another map: covtool inspect lists them.",
            )
        named[tap.path] = name
        maps.append(tap)
    return tuple(maps)


def last_of(taps: tuple[FeatureMap, ...], sites: Sites) -> FeatureMap:
    """Return the map that is nearest to the network's pooling."""
    return next(m for m in reversed(sites.trunk) if any(m.path == tap.path for tap in taps))


def require_one_call(model: nn.Module, taps: tuple[FeatureMap, ...], images: InputSpec) -> None:
    """Refuse several taps where one of their modules runs more than once in a forward pass.

    Raises:
        SurgeryError: A module does: which of its outputs is meant cannot be told by its name.
    """
    calls, _ = trace_black_image(model, images.size, images.channels)
    for tap in taps:
        count = sum(call.path == tap.path for call in calls)
        if count > 1:
            raise SurgeryError(
                f"{tap.path!r} runs {count} times in a forward pass.",
                reason="Of several maps each is caught when its module has run, once.",
                hint="Name the module before or after it, or tap one map alone.",
            )


def make_pooling(spec: HeadSpec, taps: tuple[FeatureMap, ...], reaching: FeatureMap) -> Pooling:
    """Return the pooling of a head; of several maps a branch for each.

    Args:
        spec: The head, with every choice made.
        taps: Maps that it pools.
        reaching: The map that reaches the place of the pooling; others are caught by a hook.
    """
    branches = []
    for tap in taps:
        branch = HEADS[spec.head].build(tap.channels, spec)
        # Modules between a map and the pooling do nothing any more, so what reaches it comes as
        # the model's own code permutes it. A hook catches a map before any permutation.
        branch.layout = tap.arrives if tap.path == reaching.path else tap.layout
        branch.num_prefix_tokens = tap.num_prefix_tokens
        branches.append(branch)
    return branches[0] if len(branches) == 1 else JointPooling(branches)


def catch_maps_(
    model: nn.Module, pooling: Pooling, taps: tuple[FeatureMap, ...], reaching: FeatureMap
) -> None:
    """Let the branches of a pooling of several maps have their maps, in place."""
    if isinstance(pooling, JointPooling):
        for index, tap in enumerate(taps):
            if tap.path != reaching.path:
                pooling.catch(index, model.get_submodule(tap.path))
