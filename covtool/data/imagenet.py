"""ImageNet's 1000 classes: WordNet ids and names, from timm's label files."""

import re
from collections.abc import Sequence
from functools import cache

from timm.data import ImageNetInfo

from covtool.errors import DataError

NUM_CLASSES = 1000


def are_wordnet_ids(names: Sequence[str]) -> bool:
    """Whether all names look like ``n01440764``."""
    return bool(names) and all(re.fullmatch(r"n\d{8}", name) for name in names)


def wordnet_indices(names: Sequence[str]) -> tuple[int, ...]:
    """The index among ImageNet-1k's classes of each WordNet id.

    Raises:
        DataError: An id is not among the 1000.

    Example:
        >>> wordnet_indices(["n01440764", "n15075141"])
        (0, 999)
    """
    index = {name: position for position, name in enumerate(_info().label_names())}
    unknown = [name for name in names if name not in index]
    if unknown:
        raise DataError(
            f"{len(unknown)} WordNet ids are not among ImageNet's 1000: {', '.join(unknown[:12])}.",
            hint="A model of 1000 classes can be evaluated on those 1000 only.",
        )
    return tuple(index[name] for name in names)


def imagenet_names() -> tuple[str, ...]:
    """WordNet id and words of each of ImageNet-1k's classes, in the order of their indices."""
    info = _info()
    words = info.label_descriptions()
    return tuple(f"{name} {text}" for name, text in zip(info.label_names(), words, strict=True))


@cache
def _info() -> ImageNetInfo:
    return ImageNetInfo()
