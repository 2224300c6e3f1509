"""Position embeddings and patches of another size than an architecture's own."""

from dataclasses import dataclass
from math import isqrt

from covtool.backbones.fingerprint import Architecture, Shape
from covtool.backbones.image_size import native_size

_LEAVES = ("pos_embed", "pos_embedding")
_PATCHES = "patch_embed.proj.weight"

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class OtherSize:
    """What another grid of positions means.

    Attributes:
        arguments: Arguments of the library's constructor.
        notes: Findings, in sentences.
    """

    arguments: dict[str, object]
    notes: tuple[str, ...]


def may_differ(name: str) -> bool:
    """Return whether a tensor of that name follows from the size of images and patches."""
    return name.rpartition(".")[2] in _LEAVES or name == _PATCHES


def other_size(
    architecture: Architecture, pairs: dict[str, tuple[Shape, Shape]], size: Size | None
) -> OtherSize | None:
    """Return the size of images that position embeddings were made for; None where it is unknown.

    Args:
        architecture: Architecture, which its library can build for other sizes.
        pairs: Names of tensors to their (own, known) shapes, of those that differ.
        size: Height and width of the images in pixels, where they are known: a grid of N positions
            that is not square needs them.
    """
    native = native_size(architecture.library, architecture.name)
    grids = [pair for name, pair in pairs.items() if name != _PATCHES]
    # Networks with several grids (CrossViT) leave more than one answer.
    if native is None or len(grids) > 1:
        return None
    arguments: dict[str, object] = {}
    patches = pairs.get(_PATCHES)
    if patches is not None and not _is_other_patch(*patches):
        return None
    if not grids:  # other patches, and as many: the images grew with them
        patch = patches[0][-1]
        factor = patch / patches[1][-1]
        found = (round(native[0] * factor), round(native[1] * factor))
    else:
        known = _grid(*grids[0][::-1], of=native)
        if known is None:
            return None
        patch = patches[0][-1] if patches else native[0] // known[0]
        own = _own_grid(*grids[0], known, size, patch)
        if own is None:
            return None
        found = (own[0] * patch, own[1] * patch)
    if patches is not None:
        arguments["patch_size"] = patch
    arguments |= _size_argument(architecture.library, found)
    if not arguments:
        return None
    grid = f"{found[0] // patch}x{found[1] // patch}"
    note = f"The position embeddings are of {grid} patches of {patch} px: images of {_px(found)}."
    return OtherSize(arguments, (note,))


def _is_other_patch(own: Shape, known: Shape) -> bool:
    return len(own) == 4 and own[:2] == known[:2] and own[2] == own[3]


def _size_argument(library: str, size: Size) -> dict[str, object]:
    if library == "timm":
        return {"img_size": list(size)}
    return {"image_size": size[0]} if size[0] == size[1] else {}


def _grid(known: Shape, own: Shape, *, of: Size) -> Size | None:
    """Return rows and columns of an architecture's own positions, for its own (square) images."""
    if len(known) != len(own) or of[0] != of[1]:
        return None
    if len(known) == 4:
        return known[_first_grid_axis(known)], known[_first_grid_axis(known) + 1]
    side = isqrt(_tokens(known))
    return side, side


def _own_grid(own: Shape, known: Shape, grid: Size, size: Size | None, patch: int) -> Size | None:
    """Return rows and columns of the positions in a file; it has the same extra tokens."""
    if len(own) == 4:
        axis = _first_grid_axis(known)
        rest = own[:axis] + own[axis + 2 :]
        return own[axis : axis + 2] if rest == known[:axis] + known[axis + 2 :] else None
    if own[-1] != known[-1]:
        return None
    # Class and register tokens stand in the same tensor, and their number does not change.
    positions = _tokens(own) - (_tokens(known) - grid[0] * grid[1])
    if size is not None and (size[0] // patch) * (size[1] // patch) == positions:
        return size[0] // patch, size[1] // patch
    side = isqrt(positions) if positions > 0 else 0
    # Without a size only a square grid has a single answer: 12 positions may be 3x4 or 2x6.
    return (side, side) if side and side * side == positions else None


def _tokens(shape: Shape) -> int:
    return shape[-2]


def _first_grid_axis(shape: Shape) -> int:
    """Return 1 if positions stand before the channels (1, H, W, C), 2 if behind (1, C, H, W)."""
    return 1 if shape[1] == shape[2] else 2


def _px(size: Size) -> str:
    return f"{size[0]} px" if size[0] == size[1] else f"{size[0]}x{size[1]} px"
