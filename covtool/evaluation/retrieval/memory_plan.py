"""Sizes of blocks with which a computation fits into the memory allowed."""

from collections.abc import Callable
from dataclasses import dataclass

from covtool.errors import ArgumentError
from covtool.specs.byte_amounts import format_bytes

ROWS = 512
"""Rows of a block, at most: more make nothing faster."""
COLUMNS = 4096
UNSEEN = 64_000_000
"""Bytes that are not covtool's own: what the matrix product packs, what the allocator keeps."""
FLOAT = 4
INDEX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSize:
    """The counts that the memory of a search depends on; known before any feature is.

    Attributes:
        queries: Queries, those without a match included.
        gallery: Images of the gallery, without junk.
        images: Images that take part in a re-ranking: the gallery, and queries that are not in it.
        images_per_identity: Images of the gallery that show one query's identity, at most.
        num_features: Features of an image.
        has_pairs: Whether pairs of one identity and of two are counted.
    """

    queries: int
    gallery: int
    images: int
    images_per_identity: int
    num_features: int
    has_pairs: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPlan:
    """Size of a block, and the memory that it takes.

    Attributes:
        rows: Rows of a block.
        columns: Columns of a block.
        num_bytes: Memory of the whole computation with such blocks, at most.
    """

    rows: int
    columns: int
    num_bytes: int


def plan_blocks(
    what: str, cost: Callable[[int, int], int], shape: tuple[int, int], allowed: int
) -> BlockPlan:
    """Return the largest blocks that fit.

    Args:
        what: Name of the computation, for the error: ``The search``.
        cost: Function from rows and columns of a block to bytes, beside `UNSEEN`.
        shape: Number of rows and columns in all.
        allowed: Bytes that may be used.

    Raises:
        ArgumentError: Even the smallest blocks that help do not fit.
    """
    # Halve the side that saves more, until it fits. An index for each block of columns can make
    # smaller blocks cost more in all: then even the best does not fit.
    block = min(ROWS, shape[0]), min(COLUMNS, shape[1])
    while (needed := cost(*block) + UNSEEN) > allowed:
        rows, columns = block
        fewer = [((rows + 1) // 2, columns), (rows, (columns + 1) // 2)]
        smaller = min(fewer, key=lambda halved: cost(*halved))
        if cost(*smaller) >= cost(*block):
            raise ArgumentError(
                f"{what} needs {format_bytes(needed)}, but --max-memory allows "
                f"{format_bytes(allowed)}.",
                hint="Raise --max-memory, or search among fewer images.",
            )
        block = smaller
    return BlockPlan(rows=block[0], columns=block[1], num_bytes=needed)
