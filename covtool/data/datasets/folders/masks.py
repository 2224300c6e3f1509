"""Masks that lie in the class folders of images, beside the images that they belong to."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from covtool.data.datasets.folders.names import TARGET_WORDS, is_no_class, words_in

_OF_AN_IMAGE = re.compile(r"(.+?)[_ -](mask|masks|gt|seg|segmentation)(_?\d+)?", re.IGNORECASE)


def without_masks(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Leave masks out of the images of a class, by the names of folders and files.

    ``cat/masks/1.png`` beside ``cat/images/1.png``, and ``1_mask.png`` beside ``1.png``.

    Args:
        folder: Folder of the class.
        paths: All its images; masks stay if there is nothing else.
    """
    depth = len(folder.parts)  # folders above do not count: the data set may be in "masks/"
    others = [path for path in paths if not _is_for_masks(path.parts[depth:-1])]
    others = others or list(paths)
    matches = ((path, _OF_AN_IMAGE.fullmatch(path.stem)) for path in others)
    named_after = {path: (path.parent, match[1]) for path, match in matches if match}
    # A mask needs its image: ``beach_seg.png`` alone is an image.
    images = {(path.parent, path.stem) for path in others} if named_after else set()
    return [path for path in others if named_after.get(path) not in images]


def _is_for_masks(parts: Iterable[str]) -> bool:
    return any(is_no_class(part) and not TARGET_WORDS.isdisjoint(words_in(part)) for part in parts)
