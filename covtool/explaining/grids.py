"""Rows and columns of positions, also where a network has a sequence of tokens."""

from torch import Tensor

from covtool.errors import SurgeryError


def as_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """Return values of tokens in rows and columns, (..., 1, N) -> (..., H, W).

    Args:
        tokens: Values of the positions, row by row. Not modified.
        size: Height and width of the image, whose shape the grid has.

    Raises:
        SurgeryError: No grid of N positions has the image's shape.
    """
    count = tokens.shape[-1]
    height, width = size
    rows = [r for r in range(1, count + 1) if count % r == 0]
    best = min(rows, key=lambda r: abs(r * width - count // r * height))
    # Each side may be rounded by less than one position.
    if abs(best * width - count // best * height) >= max(size):
        raise SurgeryError(
            f"{count} tokens are no grid of an image of {height}x{width} pixels.",
            reason="Which token is where in the image is not known.",
        )
    return tokens.flatten(-2).unflatten(-1, (best, count // best))
