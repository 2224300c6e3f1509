"""Masks that lie in the class folders of images, beside the images that they belong to."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from covtool.data.datasets.folders.names import TARGET_WORDS, is_no_class, words_in
from covtool.data.datasets.image_paths import ImagePaths

_OF_AN_IMAGE = re.compile(r"(.+?)[_ -](mask|masks|gt|seg|segmentation)(_?\d+)?", re.IGNORECASE)


def without_masks(folder: Path, paths: ImagePaths) -> ImagePaths:
    """Leave masks out of the images of a class, by the names of folders and files.

    ``cat/masks/1.png`` beside ``cat/images/1.png``, and ``1_mask.png`` beside ``1.png``.

    Args:
        folder: Folder of the class.
        paths: All its images; masks stay if there is nothing else.
    """
    depth = len(folder.parts)  # folders above do not count: the data set may be in "masks/"
    for_masks = [_is_for_masks(Path(own).parts[depth:]) for own in paths.folders]
    others = paths
    if any(for_masks) and not all(for_masks):
        others = paths.only(np.flatnonzero(~np.array(for_masks)[paths.folder]))
    # By name first: a million paths are slow, and of most data sets no image has such a name.
    stems = [name.rpartition(".")[0] for name in others.names()]
    named = ((at, _OF_AN_IMAGE.fullmatch(stem)) for at, stem in enumerate(stems))
    named_after = {at: match[1] for at, match in named if match}
    if not named_after:
        return others
    # A mask needs its image: ``beach_seg.png`` alone is an image.
    images = set(zip(others.folder.tolist(), stems, strict=True))
    masks = {at for at, own in named_after.items() if (int(others.folder[at]), own) in images}
    return others.only([at for at in range(len(others)) if at not in masks]) if masks else others


def _is_for_masks(parts: Iterable[str]) -> bool:
    return any(is_no_class(part) and not TARGET_WORDS.isdisjoint(words_in(part)) for part in parts)
