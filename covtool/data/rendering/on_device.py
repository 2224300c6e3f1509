"""Variation of cached images on the device that they are on, a whole batch at once.

A crop, resized with a separable filter, is a product of three matrices: rows x pixels x columns,
where a row of the outer ones holds the weights of the input pixels for an output pixel. Mirroring
turns these rows around. So two products of batches do it, whatever the sizes of the crops.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from covtool.data.cache.stored import StoredImages
from covtool.data.rendering.batch_ring import BatchLayout
from covtool.data.rendering.renderers import Wanted, draw_all
from covtool.data.rendering.variation import VariedSteps
from covtool.data.transforms.normalization import WHITE, Normalization
from covtool.data.transforms.pixels import LUMINANCE, erase_

SUPPORT = {"nearest": 0.5, "bilinear": 1.0, "bicubic": 2.0}  # of the filters, in input pixels
SHARPNESS = -0.5  # of the bicubic filter, Pillow's
CHANGES = ("brightness", "contrast", "saturation")


class DeviceRenderer:
    """Varies images on the device that they are on; random numbers are drawn on the CPU.

    Args:
        steps: Steps of the training transform, which run on tensors.
        normalization: Normalization on the device.
    """

    def __init__(self, steps: VariedSteps, normalization: Normalization) -> None:
        self.steps = steps
        self.normalization = normalization
        self.layout = BatchLayout(
            normalization.channels,
            tuple(steps.crop.size),
            dtype=torch.float32,
            device=normalization.device,
        )

    def __call__(self, images: StoredImages, batch: Sequence[Wanted], out: Tensor) -> None:
        places, drawn = draw_all(self.steps, images, batch)
        parts = [
            images.part(place, crop.box_in(place.size, place.space))[0]
            for place, (crop, _) in zip(places, drawn, strict=True)
        ]
        variations = [variation for _, variation in drawn]
        values = resize_together(
            parts,
            [crop.filter for crop, _ in drawn],
            self.layout.size,
            mirrored=[(v.hflip, v.vflip) for v in variations],
        )
        change_colors_(values, [v.jitter for v in variations])
        out.copy_(self.normalization(values.to(torch.uint8)))
        for image, variation in zip(out, variations, strict=True):
            erase_(image, variation.erasures)


def resize_together(
    parts: Sequence[Tensor],
    filters: Sequence[str],
    size: tuple[int, int],
    *,
    mirrored: Sequence[tuple[bool, bool]],
) -> Tensor:
    """Resize images of different sizes, as torch does on the CPU: columns, round, rows, round.

    Args:
        parts: B images, (channels, height, width) in uint8.
        filters: ``nearest``, ``bilinear`` or ``bicubic`` for each.
        size: Height and width of the results.
        mirrored: Whether left and right, and top and bottom, of each change places.

    Returns:
        (B, channels, *size), whole numbers from 0 to 255 in float32.
    """
    heights, widths = ([part.shape[axis] for part in parts] for axis in (1, 2))
    first = parts[0]
    # Zeros, not empty: padding has weight 0, but 0 times a NaN of old memory would be NaN.
    padded = first.new_zeros(
        (len(parts), len(first), max(heights), max(widths)), dtype=torch.float32
    )
    for place, part in zip(padded, parts, strict=True):
        place[:, : part.shape[1], : part.shape[2]] = part
    turn_columns, turn_rows = zip(*mirrored, strict=True)
    columns = resize_weights(widths, size[1], filters, turn_columns, device=first.device)
    rows = resize_weights(heights, size[0], filters, turn_rows, device=first.device)
    halfway = _whole(padded @ columns[:, None].mT)
    return _whole(rows[:, None] @ halfway)


def resize_weights(
    lengths: Sequence[int],
    length: int,
    filters: Sequence[str],
    mirrored: Sequence[bool],
    *,
    device: torch.device | None = None,
) -> Tensor:
    """Compute the weights of the pixels along an axis for each pixel of the resized axis.

    Args:
        lengths: Pixels along the axis, of each image.
        length: Pixels along the resized axis.
        filters: Filter of each image.
        mirrored: Whether the resized axis of each image is turned around.
        device: Device of the result.

    Returns:
        (B, length, max(lengths)) in float32; each row sums to 1.
    """
    given = {"device": device, "dtype": torch.float32}
    extent = torch.tensor(lengths, **given)[:, None, None]
    scale = extent / length
    # Source pixels of an output pixel lie around its center; where the image shrinks, the filter is
    # as much wider (antialiasing), where it grows, it is not narrower.
    support = torch.tensor([SUPPORT[name] for name in filters], **given)[:, None, None]
    turned = torch.tensor(mirrored, device=device)[:, None, None]
    index = torch.arange(length, **given)[:, None]
    center = (torch.where(turned, length - 1 - index, index) + 0.5) * scale
    pixel = torch.arange(max(lengths), **given)
    nearest = (pixel == center.floor()).float()
    distance = (pixel + 0.5 - center).abs() / scale.clamp_min(1)
    smooth = torch.where(support > 1, _cubic(distance), (1 - distance).clamp_min(0))
    weights = torch.where(support < 1, nearest, smooth)
    weights = weights * (pixel < extent)  # what lies beyond is padding
    return weights / weights.sum(-1, keepdim=True)


def change_colors_(values: Tensor, changes: Sequence[Sequence[tuple[str, float]]]) -> None:
    """Change brightness, contrast and saturation, as `ColorChanges` does.

    Args:
        values: (B, channels, height, width), whole numbers from 0 to 255 in float32.
        changes: Names and factors of each image's changes, in order; as many for all images.
    """
    weights = values.new_tensor(LUMINANCE if values.shape[1] > 1 else (1.0,))[:, None, None]
    for step in zip(*changes, strict=True):
        kinds = torch.tensor([CHANGES.index(name) for name, _ in step], device=values.device)
        factors = values.new_tensor([factor for _, factor in step])[:, None, None, None]
        luminance = (values * weights).sum(1, keepdim=True).round_()
        mean = luminance.mean((2, 3), keepdim=True).add_(0.5).floor_()
        kinds = kinds[:, None, None, None]
        # An image at a time would be a kernel an image: all three changes are one formula, factor
        # times value plus (1 - factor) times a base, which is 0 for brightness.
        base = torch.where(kinds == 1, mean, torch.where(kinds == 2, luminance, 0.0))
        values.mul_(factors).add_(base * (1 - factors))
        values.clamp_(0, WHITE).floor_()


def _cubic(distance: Tensor) -> Tensor:
    """Evaluate Keys' cubic filter at distances from 0 on."""
    a, x = SHARPNESS, distance
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _whole(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, WHITE)
