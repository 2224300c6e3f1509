"""Names and arguments of architectures that a recipe may start from.

A recipe comes from a file. Its arguments reach the constructors of timm and torchvision, which take
paths, addresses, devices and classes as well: only what changes shapes, within bounds, is let
through.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from covtool.specs.problems import shown

MOST_CHANNELS = 1024
"""Channels of an image."""

LARGEST_SIDE = 4096
"""Pixels of an image's side."""

MOST_BLOCKS = 256
"""Blocks of a network, over all stages."""

WIDEST = 16_384
"""Channels inside of a network."""

Check = Callable[[Any], str | None]
"""What a value should be, in words; None where it is."""

_NAME = re.compile(r"[A-Za-z0-9_]{1,100}(\.[A-Za-z0-9_]{1,100})?")  # with timm's pretrained tag
_MOST_STAGES = 16
_POOLINGS = ("", "avg", "max", "avgmax", "catavgmax", "fast", "fastavg", "fastmax", "fastavgmax")
_TOKEN_POOLINGS = ("fastcatavgmax", "token", "map", "prr")


def base_problem(library: str, name: str, arguments: Mapping[str, Any]) -> str | None:
    """Return what is wrong with an architecture as a recipe describes it; None where nothing is.

    Whether the library has the name is not looked up here.

    Example:
        >>> base_problem("timm", "vit_base_patch16_224", {"img_size": [384, 384]})
        >>> base_problem("timm", "resnet50", {"checkpoint_path": "/etc/passwd"})
        "base.arguments: timm's 'checkpoint_path' is not for recipes"
    """
    if not _NAME.fullmatch(name):
        return f"base.name: {shown(name)} is not a name of an architecture"
    known = ARGUMENTS[library]
    for argument, value in arguments.items():
        if argument not in known:
            return f"base.arguments: {library}'s {shown(argument)} is not for recipes"
        wanted = known[argument](value)
        if wanted is not None:
            return f"base.arguments.{argument}: It should be {wanted}, not {shown(value)}"
    # Each stage is within its bound; all stages together may not be.
    if sum(_counts_in(arguments.get("depths"))) > MOST_BLOCKS:
        return f"base.arguments.depths: It should be at most {MOST_BLOCKS} blocks in all"
    return None


def _flag(value: Any) -> str | None:
    return None if isinstance(value, bool) else "true or false"


def _count(least: int, most: int) -> Check:
    def check(value: Any) -> str | None:
        # `type`, as True is an int to `isinstance`.
        fits = type(value) is int and least <= value <= most
        return None if fits else f"a whole number from {least} to {most}"

    return check


def _number(most: float, *, above: float = 0.0) -> Check:
    def check(value: Any) -> str | None:
        fits = type(value) in (int, float) and above <= value <= most
        return None if fits else f"a number from {above:g} to {most:g}"

    return check


def _word(*words: str) -> Check:
    def check(value: Any) -> str | None:
        return None if value in words else f"one of {', '.join(map(repr, words))}"

    return check


def _some(item: Check, most: int = _MOST_STAGES) -> Check:
    """Return one value, or a list of a few."""

    def check(value: Any) -> str | None:
        listed = value if isinstance(value, list | tuple) else [value]
        wanted = next(filter(None, map(item, listed)), None)
        if wanted is None and 1 <= len(listed) <= most:
            return None
        return f"{wanted or item(None)}, or up to {most} such"

    return check


def _optional(check: Check) -> Check:
    """Timm leaves out what is None."""
    return lambda value: None if value is None else check(value)


def _counts_in(value: Any) -> list[int]:
    return [count for count in value if type(count) is int] if isinstance(value, list) else []


_sides = _some(_count(1, LARGEST_SIDE), most=2)
_share = _number(1.0)

_TIMM: dict[str, Check] = {
    # of the images and the classifier
    "in_chans": _count(1, MOST_CHANNELS),
    "img_size": _sides,
    "global_pool": _word(*_POOLINGS, *_TOKEN_POOLINGS),
    # of a transformer
    "patch_size": _some(_count(1, 128), most=2),
    "window_size": _some(_count(1, 64), most=2),
    "embed_dim": _some(_count(1, WIDEST)),
    "depth": _count(1, MOST_BLOCKS),
    "depths": _some(_count(0, MOST_BLOCKS)),
    "num_heads": _some(_count(1, 256)),
    "mlp_ratio": _some(_number(64)),
    "class_token": _flag,
    "reg_tokens": _count(0, 1024),
    "init_values": _number(1e3),
    "dynamic_img_size": _flag,
    "dynamic_img_pad": _flag,
    "strict_img_size": _flag,
    **dict.fromkeys(("no_embed_class", "pre_norm", "final_norm", "fc_norm"), _flag),
    **dict.fromkeys(("qkv_bias", "qk_norm", "proj_bias"), _flag),
    # of a convolutional network
    "dims": _some(_count(1, WIDEST)),
    "output_stride": _count(1, 64),
    "pad_type": _word("", "same"),
    "bn_eps": _number(1.0),
    "bn_momentum": _share,
    "aux_logits": _flag,
    # of both; SigLIP's and CLIP's networks differ from others by these alone
    "act_layer": _word("gelu", "gelu_tanh", "quick_gelu"),
    **dict.fromkeys(("drop_rate", "drop_path_rate", "proj_drop_rate", "attn_drop_rate"), _share),
    **dict.fromkeys(("pos_drop_rate", "patch_drop_rate"), _share),
}

_TORCHVISION: dict[str, Check] = {
    "aux_logits": _flag,
    "transform_input": _flag,
    "image_size": _count(1, LARGEST_SIDE),
    "dropout": _share,
    "stochastic_depth_prob": _share,
}

ARGUMENTS: dict[str, dict[str, Check]] = {
    "timm": {name: _optional(check) for name, check in _TIMM.items()},
    "torchvision": _TORCHVISION,
}
"""For each library the arguments of constructors that recipes may have, with their bounds."""
