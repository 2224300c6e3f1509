"""Decoding of every image once, into memory or through a function that writes it."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from covtool.data.cache.planning import CachePlan
from covtool.data.cache.request import CachedImages
from covtool.data.cache.stored import StoredImages
from covtool.data.datasets.checking import CheckedSamples, ImageProblem, require_readable
from covtool.data.images.decoding import decode_image
from covtool.data.images.orientation import note_on_turned
from covtool.data.images.threads import in_threads
from covtool.errors import DataError

Put = Callable[[int, np.ndarray], None]
"""Function that writes the bytes of an image at an offset; called by several threads."""


def fill(plan: CachePlan, put: Put) -> CheckedSamples:
    """Decode the images of a plan and put each in its place.

    Args:
        plan: Images and their places. The sizes of images that cannot be read become 0.
        put: Function that writes an image.

    Returns:
        What was seen of the images.

    Raises:
        DataError: Some cannot be read, and they are not to be left out.
    """
    bad: list[ImageProblem] = []
    turned = dim = frames = 0
    formats: Counter[str] = Counter()
    setting, count, split = plan.setting, len(plan.samples), plan.request.split
    looks = in_threads(partial(_fill_one, plan, put), range(count))
    for row, look in enumerate(setting.track(looks, f"decoding {split} images", count)):
        if isinstance(look, str):  # the reason; its place stays reserved, with nothing in it
            plan.index.sizes[row] = 0
            bad.append((plan.samples[row].path, look))
            continue
        turned += look.has_turn
        dim += look.is_dim
        frames += look.has_frames
        formats[look.format] += 1
    require_readable(bad, count, setting.on_bad_image)
    if note := note_on_turned(turned, exif=setting.exif, split=split):
        setting.note(note)
    return CheckedSamples(
        good=plan.samples,
        bad=tuple(bad),
        turned=turned,
        dim=dim,
        frames=frames,
        formats=formats,
    )


def fill_memory(plan: CachePlan) -> CachedImages:
    """Decode the images of a plan into memory, of the device where that is asked for.

    Worker processes that are forked later share it, without a copy.

    Raises:
        DataError: As `fill`.
    """
    setting = plan.setting
    # Not cleared: every byte of a readable image is written.
    pixels = torch.empty(plan.num_bytes, dtype=torch.uint8)
    row = pixels.numpy()

    def put(offset: int, image: np.ndarray) -> None:
        row[offset : offset + image.size] = image.reshape(-1)

    seen = fill(plan, put)
    images = StoredImages(plan.index, pixels, setting.channels)
    if setting.spec.cache == "device":
        images = images.to(setting.device)
    return CachedImages(plan.request, images, seen.bad, seen)


class _Look(NamedTuple):
    """What was seen of an image; see `covtool.data.images.decoding.Decoded`."""

    has_turn: bool
    is_dim: bool
    has_frames: bool
    format: str


def _fill_one(plan: CachePlan, put: Put, row: int) -> "str | _Look":
    """Decode an image into its place; return what was seen of it, or why it cannot be read."""
    setting, index = plan.setting, plan.index
    try:
        decoded = decode_image(plan.samples[row].path, gray=setting.gray, exif=setting.exif)
    except DataError as problem:
        return str(problem.reason)
    # Of gray images one of three equal channels.
    image, pixels = decoded.image, plan.form.pixels(decoded.image)[..., : setting.channels]
    if setting.exif and decoded.has_turn and pixels.shape[:2] == tuple(index.sizes[row, ::-1]):
        # Turned to the side: as many bytes in the other form. The header is no help, for a PNG
        # file may have its EXIF data at the end.
        index.sizes[row], index.spaces[row] = index.sizes[row, ::-1], index.spaces[row, ::-1]
    if pixels.shape[:2] != tuple(index.sizes[row]):
        return f"It is {image.width}x{image.height}, but its header has another size."
    put(int(index.offsets[row]), np.ascontiguousarray(pixels))
    return _Look(*decoded[1:])  # not the image, of which thousands would wait
