"""Masks that lie in the class folders of images, beside the images that they belong to."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from covtool.data.folder_names import TARGET_WORDS, is_no_class, words_in

_OF_AN_IMAGE = re.compile(r"(.+?)[_ -](mask|masks|gt|seg|segmentation)(_?\d+)?", re.IGNORECASE)


def without_masks(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """The images of a class without masks, told by folders and names.

    ``cat/masks/1.png`` beside ``cat/images/1.png``, and ``1_mask.png`` beside ``1.png``.

    Args:
        folder: Of the class.
        paths: All its images; if nothing else were left, masks stay.
    """
    below = {path for path in paths if _is_for_masks(path.parent.relative_to(folder).parts)}
    others = [path for path in paths if path not in below] or list(paths)
    images = {(path.parent, path.stem) for path in others}
    return [path for path in others if not _is_named_after_one(path, images)]


def _is_for_masks(parts: Iterable[str]) -> bool:
    return any(is_no_class(part) and not TARGET_WORDS.isdisjoint(words_in(part)) for part in parts)


def _is_named_after_one(path: Path, images: set[tuple[Path, str]]) -> bool:
    match = _OF_AN_IMAGE.fullmatch(path.stem)
    return match is not None and (path.parent, match[1]) in images
