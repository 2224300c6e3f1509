"""What is measured, as it is written: shapes and forms. Without torch, to be checked before it."""

import re
from typing import NamedTuple

from covtool.errors import ArgumentError
from covtool.variant_names import MAGNITUDES, require_variant

_SIZE = re.compile(r"[1-9][0-9]{0,8}")
_KERNEL = re.compile(r"(.*):(dw)?([1-9][0-9]{0,8})x([1-9][0-9]{0,8})")


class ConvolutionShape(NamedTuple):
    """A map, and the kernel that passes over it.

    Attributes:
        sizes: Batch, channels, height, width.
        kernel: Height and width.
        depthwise: Whether each filter sees one channel.
    """

    sizes: tuple[int, ...]
    kernel: tuple[int, int]
    depthwise: bool


def parse_map(shape: str) -> tuple[int, ...]:
    """Return batch, channels, height and width of a feature map.

    Raises:
        ArgumentError: It is no such shape.

    Example:
        >>> parse_map("16x256x7x7")
        (16, 256, 7, 7)
    """
    sizes = _sizes(shape, 4)
    if sizes is None:
        raise ArgumentError(
            f"There is no feature map of shape {shape!r}.",
            hint="Write batch, channels, height and width like 16x256x7x7.",
        )
    return sizes


def parse_search(shape: str) -> tuple[int, int, int]:
    """Return the number of queries, of images of the gallery, and of features.

    Raises:
        ArgumentError: It is no such shape.

    Example:
        >>> parse_search("3368x19281x2048")
        (3368, 19281, 2048)
    """
    sizes = _sizes(shape, 3)
    if sizes is None:
        raise ArgumentError(
            f"There is no search of the shape {shape!r}.",
            hint="Write queries, images of the gallery and features like 3368x19281x2048.",
        )
    queries, images, features = sizes
    return queries, images, features


def parse_convolution(shape: str) -> ConvolutionShape:
    """Return the shape of a map and a kernel.

    Raises:
        ArgumentError: It is no such shape.

    Example:
        >>> parse_convolution("16x64x56x56:dw3x3")
        ConvolutionShape(sizes=(16, 64, 56, 56), kernel=(3, 3), depthwise=True)
    """
    match = _KERNEL.fullmatch(shape)
    sizes = _sizes(match[1], 4) if match else None
    if match is None or sizes is None:
        raise ArgumentError(
            f"There is no convolution of shape {shape!r}.",
            hint="Write batch, channels, height, width and the kernel like 16x64x56x56:3x3, or "
            "16x64x56x56:dw3x3 for a depthwise one.",
        )
    return ConvolutionShape(sizes, (int(match[3]), int(match[4])), match[2] is not None)


def parse_operator(name: str) -> tuple[str, str | None]:
    """Return an operator, and its angular activation where one is named.

    Raises:
        ArgumentError: There is no such operator, or it takes no angular activation.

    Example:
        >>> parse_operator("tanh:sigmoid")
        ('tanh', 'sigmoid')
    """
    conv, _, angular = name.partition(":")
    require_variant("operator", conv)
    if not angular:
        return conv, None
    if conv not in MAGNITUDES:
        raise ArgumentError(f"{conv} takes no angular activation: {name!r}.")
    require_variant("angular activation", angular)
    return conv, angular


def parse_head(name: str) -> tuple[str, str | None]:
    """Return a head, and its gradient rule where one is named.

    Raises:
        UnknownVariantError: There is no such head or rule.

    Example:
        >>> parse_head("mpn:taylor")
        ('mpn', 'taylor')
    """
    head, _, rule = name.partition(":")
    require_variant("head", head)
    if rule:
        require_variant("gradient rule", rule)
    return head, rule or None


def _sizes(shape: str, count: int) -> tuple[int, ...] | None:
    sizes = shape.split("x")
    if len(sizes) != count or not all(map(_SIZE.fullmatch, sizes)):
        return None
    return tuple(map(int, sizes))
