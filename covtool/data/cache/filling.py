"""Every image decoded once."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from covtool.data.cache.planning import CachePlan
from covtool.data.cache.stored import StoredImages
from covtool.data.cache.wishes import CachedImages, Unreadable
from covtool.data.checking import require_readable
from covtool.data.images import read_image
from covtool.data.threads import in_threads
from covtool.errors import DataError

Put = Callable[[int, np.ndarray], None]
"""Writes the bytes of an image, contiguous, at an offset; called by several threads."""


def fill(plan: CachePlan, put: Put) -> list[Unreadable]:
    """Decode the images of a plan and put each in its place.

    Args:
        plan: Says which and where. The sizes of images that cannot be read become 0.
        put: Writes an image.

    Returns:
        The images that cannot be read.

    Raises:
        DataError: There are some, and they are not to be left out.
    """
    bad, count, split = [], len(plan.samples), plan.wish.split
    problems = in_threads(partial(_fill_one, plan, put), range(count))
    for row, problem in enumerate(plan.setting.track(problems, f"decoding {split} images", count)):
        if problem is not None:
            plan.index.sizes[row] = 0
            bad.append((plan.samples[row].path, problem))
    require_readable(bad, count, plan.setting.on_bad_image)
    return bad


def fill_memory(plan: CachePlan) -> CachedImages:
    """Decode the images of a plan into memory, of the device where that is asked for.

    Worker processes that are forked later share it, without a copy.

    Raises:
        DataError: As `fill`.
    """
    setting = plan.setting
    pixels = torch.empty(plan.num_bytes, dtype=torch.uint8)
    row = pixels.numpy()

    def put(offset: int, image: np.ndarray) -> None:
        row[offset : offset + image.size] = image.reshape(-1)

    bad = fill(plan, put)
    images = StoredImages(plan.index, pixels, setting.channels)
    if setting.spec.cache == "device":
        images = images.to(setting.device)
    return CachedImages(plan.wish, images, bad)


def _fill_one(plan: CachePlan, put: Put, row: int) -> str | None:
    setting = plan.setting
    try:
        image = read_image(plan.samples[row].path, gray=setting.gray)
    except DataError as problem:
        return problem.reason
    pixels = plan.form.pixels(image)[..., : setting.channels]
    if pixels.shape[:2] != tuple(plan.index.sizes[row]):
        return f"It is {image.width}x{image.height}, but its header told otherwise."
    put(int(plan.index.offsets[row]), np.ascontiguousarray(pixels))
    return None
