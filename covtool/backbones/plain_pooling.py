"""timm's first-order pooling, by the order of a feature map's axes."""

from timm.layers import SelectAdaptivePool2d
from torch import nn

from covtool.backbones.slots import TokenPooling
from covtool.errors import ArgumentError

TOKEN_POOLINGS = ("", "avg", "avgmax", "max", "token")


def plain_pooling(pool_type: str, layout: str, num_prefix_tokens: int = 0) -> tuple[nn.Module, int]:
    """Return a pooling without parameters, and how many numbers it gives for each channel.

    Args:
        pool_type: Word that timm's ``reset_classifier`` takes: ``avg``, ``max``, ``avgmax``, for
            maps also ``catavgmax``, for tokens ``token``; ``""`` for none.
        layout: NCHW, NHWC or NLC.
        num_prefix_tokens: Class and register tokens at the front of an NLC input.

    Raises:
        ArgumentError: timm has no such pooling for this layout.
    """
    if layout == "NLC":
        if pool_type not in TOKEN_POOLINGS or (pool_type == "token" and not num_prefix_tokens):
            raise _unknown(pool_type, "these tokens")
        return TokenPooling(pool_type, num_prefix_tokens), 1
    try:
        pooling = SelectAdaptivePool2d(
            pool_type=pool_type, flatten=bool(pool_type), input_fmt=layout
        )
    # timm checks its arguments by assert.
    except AssertionError as problem:
        raise _unknown(pool_type, "a feature map") from problem
    return pooling, pooling.feat_mult()


def _unknown(pool_type: str, what: str) -> ArgumentError:
    return ArgumentError(
        f"timm has no pooling {pool_type!r} of {what}.", hint="Choose avg, max, avgmax or none: ''."
    )
