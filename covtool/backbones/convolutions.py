"""The convolutions of a model: which there are, of what kind, what they are for."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from covtool.backbones.selecting import fits, near
from covtool.backbones.tracing import Call, Tracer, trace_black_image
from covtool.errors import ArgumentError
from covtool.layers.global_pooling import GlobalPooling

Kind = Literal["spatial", "pointwise", "depthwise"]
Role = Literal["body", "stem", "shortcut", "head"]

KINDS: tuple[Kind, ...] = ("spatial", "pointwise", "depthwise")
ALL = "all"
_SHORTCUT_NAMES = frozenset({"downsample", "shortcut", "conv_shortcut", "skip", "proj"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvSite:
    """A convolution of a model.

    Attributes:
        path: Path of the module.
        kind: depthwise: a group for each input channel; pointwise: 1x1; spatial: the others.
        role: stem: on the image; shortcut: beside a block that changes the resolution; head: in
            covtool's pooling; body: the others.
        shape: Filters x channels x height x width, as ``64x64x3x3``.
    """

    path: str
    kind: Kind
    role: Role
    shape: str


def find_convolutions(
    model: nn.Module,
    size: tuple[int, int],
    channels: int,
    *,
    trace: Tracer = trace_black_image,
) -> tuple[ConvSite, ...]:
    """Return the convolutions that a model runs, in the order of their modules.

    Args:
        model: Model that `covtool.backbones.create_model` returned. Left as it is.
        size: Height and width of its images, in pixels.
        channels: Channels of its images.
        trace: What runs the model; `traced_once` where other findings want the same calls.

    Raises:
        SurgeryError: It does not run on such an image.
    """
    calls, image_key = trace(model, size, channels)
    # Some models hold layers that only training runs, or nothing at all.
    run = {call.path for call in calls}
    on_image = {call.path for call in calls if call.source == image_key}
    is_stem = _stem_test(model)
    poolings = [path for path, m in model.named_modules() if isinstance(m, GlobalPooling)]

    def role(path: str) -> Role:
        if any(path.startswith(f"{pooling}.") for pooling in poolings):
            return "head"
        if path in on_image or is_stem(path):
            return "stem"
        return "shortcut" if _is_shortcut(path, calls) else "body"

    return tuple(
        ConvSite(path=path, kind=kind_of_conv(conv), role=role(path), shape=_shape(conv))
        for path, conv in model.named_modules()
        if isinstance(conv, nn.Conv2d) and path in run
    )


def select(
    sites: Sequence[ConvSite], target: Sequence[str], exclude: Sequence[str]
) -> tuple[ConvSite, ...]:
    """Return the convolutions that patterns choose.

    Args:
        sites: All there are.
        target: ``all``, a kind (of the body), or names with wildcards; empty for the body.
        exclude: Convolutions to leave out of those, in the same words.

    Raises:
        ArgumentError: A word fits nothing.
    """
    for flag, patterns in (("--target", target), ("--exclude", exclude)):
        for pattern in patterns:
            if not any(_wanted(site, pattern) for site in sites):
                raise ArgumentError(
                    f"{flag} {pattern!r} fits no convolution.",
                    hint=f"Give {ALL}, {', '.join(KINDS)}, or names like "
                    f"{near(pattern, _modules_around(sites))}; * stands for anything.",
                )
    return tuple(
        site
        for site in sites
        if (any(_wanted(site, p) for p in target) if target else site.role == "body")
        and not any(_wanted(site, p) for p in exclude)
    )


def kind_of_conv(conv: nn.Conv2d) -> Kind:
    """Depthwise, pointwise or spatial."""
    if conv.groups > 1 and conv.groups == conv.in_channels:
        return "depthwise"
    return "pointwise" if conv.kernel_size == (1, 1) else "spatial"


def _modules_around(sites: Sequence[ConvSite]) -> list[str]:
    """Return paths of the convolutions and of the modules that hold them, the outermost first."""
    parts = [site.path.split(".") for site in sites]
    paths = {".".join(p[:count]) for p in parts for count in range(1, len(p) + 1)}
    return sorted(paths, key=lambda path: (path.count("."), path))


def _wanted(site: ConvSite, pattern: str) -> bool:
    if pattern == ALL:
        return site.role != "head"
    if pattern in KINDS:
        return site.kind == pattern and site.role == "body"
    return fits(site.path, pattern)


def _shape(conv: nn.Conv2d) -> str:
    return "x".join(map(str, conv.weight.shape))


def _stem_test(model: nn.Module) -> Callable[[str], bool]:
    """Return whether timm counts the module of a path to the stem; without timm's word, none is.

    timm groups parameters by a dict of patterns, or by a function that gives their layer, from 0.
    """
    matcher = getattr(model, "group_matcher", None)
    if not callable(matcher):
        return lambda path: False
    try:
        groups = matcher(coarse=True)
    except AssertionError:  # rdnet has no coarse groups
        groups = matcher(coarse=False)
    if callable(groups):
        # timm's functions expect names of parameters.
        return lambda path: groups(f"{path}.weight") == 0
    pattern = groups.get("stem")
    if not isinstance(pattern, str):
        return lambda path: False
    return lambda path: re.match(pattern, path) is not None


def _is_shortcut(path: str, calls: Sequence[Call]) -> bool:
    """Return whether a module with a shortcut's name has the input of another branch."""
    parts = path.split(".")
    named = [i for i, part in enumerate(parts) if part in _SHORTCUT_NAMES]
    if not named:
        return False
    # A name alone is not enough: ``proj`` is also what attention ends with.
    branch = ".".join(parts[: named[-1] + 1])
    sources = {call.source for call in calls if call.path == branch}
    return any(
        call.source in sources
        and not call.path.startswith(branch)
        and not branch.startswith(f"{call.path}.")
        for call in calls
    )
