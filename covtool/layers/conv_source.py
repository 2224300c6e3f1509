"""Kinds of convolutions, beside their shape: how one pads, what it does to its weight.

timm's convolutions are known by name, so that the layers need no timm.
"""

from dataclasses import dataclass, replace

from torch import nn

from covtool.errors import SurgeryError


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvKind:
    """A class of convolutions.

    Attributes:
        same: Whether it pads as TensorFlow does, by the size of its input.
        standardized: Whether it standardizes its filters before it uses them.
        gain: Whether it multiplies the standardized filters by a learned gain and a scale.
    """

    same: bool = False
    standardized: bool = False
    gain: bool = False


KINDS = {
    "torch.nn.modules.conv.Conv2d": ConvKind(),
    "timm.layers.conv2d_same.Conv2dSame": ConvKind(same=True),
    "timm.layers.std_conv.StdConv2d": ConvKind(standardized=True),
    "timm.layers.std_conv.StdConv2dSame": ConvKind(same=True, standardized=True),
    "timm.layers.std_conv.ScaledStdConv2d": ConvKind(standardized=True, gain=True),
    "timm.layers.std_conv.ScaledStdConv2dSame": ConvKind(same=True, standardized=True, gain=True),
}


def kind_of(conv: nn.Module) -> ConvKind:
    """Return the kind of a convolution.

    Raises:
        SurgeryError: It is of an unknown class, or its weight is computed by a hook or a
            parametrization.
    """
    name = f"{type(conv).__module__}.{type(conv).__qualname__}"
    # First, since a parametrization renames the class, and the error should name the cause.
    if isinstance(conv, nn.Conv2d) and (computed := {"weight", "bias"} - set(conv._parameters)):
        raise _computed(conv, " and ".join(sorted(computed)))
    # Exactly these: a subclass may compute something else.
    if name not in KINDS:
        raise SurgeryError(
            f"A {type(conv).__name__} cannot become another operator.",
            reason=f"Known: {', '.join(known.rpartition('.')[2] for known in KINDS)}.",
        )
    kind = KINDS[name]
    return replace(kind, same=getattr(conv, "same_pad", kind.same))  # timm pads by size if it must


def _computed(conv: nn.Conv2d, names: str) -> SurgeryError:
    utils = "torch.nn.utils"
    return SurgeryError(
        f"A {type(conv).__name__} whose {names} is computed cannot become another operator.",
        hint="Take off what computes it first. A parametrization: "
        f"{utils}.parametrize.remove_parametrizations(conv, {names!r}); the older weight norm: "
        f"{utils}.remove_weight_norm(conv); pruning: {utils}.prune.remove(conv, {names!r}).",
    )
