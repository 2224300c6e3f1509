"""The grid of patches that a vision transformer makes of an image."""

from timm.layers import resample_abs_pos_embed
from torch import nn

from covtool.errors import SurgeryError


def patch_grid(model: nn.Module, stride: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return rows and columns of the patches of an image, should they lie `stride` pixels apart.

    Args:
        model: A vision transformer of timm's with learned positions.
        stride: Distance from patch to patch, in pixels.
        size: Height and width of the image.

    Raises:
        SurgeryError: It is none, or the image is smaller than a patch.
    """
    embed = getattr(model, "patch_embed", None)
    projection = getattr(embed, "proj", None)
    if not isinstance(projection, nn.Conv2d) or getattr(model, "pos_embed", None) is None:
        raise SurgeryError(
            f"{type(model).__name__} is not a vision transformer with patches and learned "
            "positions.",
            hint="Only the patches of such a one can overlap.",
        )
    kernel = projection.kernel_size
    rows, columns = ((side - k) // stride + 1 for side, k in zip(size, kernel, strict=True))
    if rows < 1 or columns < 1:
        raise SurgeryError(f"An image of {size[0]}x{size[1]} has no patch of {kernel[0]} pixels.")
    return rows, columns


def set_patch_stride_(model: nn.Module, stride: int, size: tuple[int, int]) -> None:
    """Change the stride of a model's patches; its positions are resampled for the new grid.

    Args:
        model: Model, which is changed.
        stride: Distance from patch to patch, in pixels.
        size: Height and width of the images.

    Raises:
        SurgeryError: As `patch_grid`.
    """
    grid = patch_grid(model, stride, size)
    embed, prefix = model.patch_embed, getattr(model, "num_prefix_tokens", 1)
    positions = resample_abs_pos_embed(
        model.pos_embed.data,
        new_size=list(grid),
        old_size=list(embed.grid_size),
        num_prefix_tokens=prefix,
    )
    # timm reads the grid from these, and resamples the positions by them.
    embed.proj.stride = (stride, stride)
    embed.img_size, embed.grid_size, embed.num_patches = size, grid, grid[0] * grid[1]
    # A new parameter, since it has another number of positions.
    model.pos_embed = nn.Parameter(positions, requires_grad=model.pos_embed.requires_grad)
