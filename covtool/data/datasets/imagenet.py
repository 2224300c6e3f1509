"""ImageNet's classes: WordNet ids and names, from timm's label files."""

import re
from collections.abc import Sequence
from functools import cache

from timm.data import ImageNetInfo, infer_imagenet_subset
from torchvision.models import ResNet18_Weights

from covtool.data.datasets.spelling import spelled_alike
from covtool.errors import DataError

NUM_CLASSES = 1000
LARGEST = 21841  # classes of the whole ImageNet, as of fall 2011
_MAJORITY = 0.9  # of the names: other lists of ImageNet's classes spell some differently


def are_wordnet_ids(names: Sequence[str]) -> bool:
    """Return whether all names have the form ``n01440764``."""
    return bool(names) and all(re.fullmatch(r"n\d{8}", name) for name in names)


def has_subset(num_classes: int) -> bool:
    """Return whether ImageNet, or a part of it that timm knows, has that many classes."""
    return infer_imagenet_subset({"num_classes": num_classes}) is not None


def wordnet_indices(names: Sequence[str], num_classes: int = NUM_CLASSES) -> tuple[int, ...]:
    """Return the index of each WordNet id among the classes of ImageNet, or of a part of it.

    Args:
        names: WordNet ids.
        num_classes: Number of classes, 1000, 21841, ...; it selects the part of ImageNet.

    Raises:
        DataError: An id is not among them.

    Example:
        >>> wordnet_indices(["n01440764", "n15075141"])
        (0, 999)
    """
    index = {name: position for position, name in enumerate(_info(num_classes).label_names())}
    unknown = [name for name in names if name not in index]
    if unknown:
        raise DataError(
            f"{len(unknown)} WordNet ids are not among ImageNet's {num_classes}: "
            f"{', '.join(unknown[:12])}.",
            hint=f"A model of {num_classes} classes can be evaluated on those {num_classes} only.",
        )
    return tuple(index[name] for name in names)


def imagenet_names(num_classes: int = NUM_CLASSES) -> tuple[str, ...]:
    """Return WordNet id and words of each class, in the order of their indices."""
    info = _info(num_classes)
    words = info.label_descriptions()
    return tuple(f"{name} {text}" for name, text in zip(info.label_names(), words, strict=True))


def word_indices(names: Sequence[str]) -> tuple[int, ...] | None:
    """Look up the index of each English name among ImageNet-1k's classes.

    All of a class's words, one of them, or torchvision's name for it, in any spelling; None where a
    name is of no class, or two names are of one. A word of several classes (``crane``) is of none.
    """
    words = _words()
    indices = [words.get(spelled_alike(name)) for name in names]
    if None in indices or len(set(indices)) < len(indices):
        return None
    return tuple(indices)


def english_of(wordnet_id: str) -> frozenset[str]:
    """Return the words for a WordNet id as `spelled_alike` spells them; none for an unknown id."""
    info = _info(LARGEST)
    try:
        words = info.label_name_to_description(wordnet_id)
    except KeyError:
        return frozenset()
    return frozenset(spelled_alike(text) for text in (words, *words.split(",")))


def are_imagenets(names: Sequence[str]) -> bool:
    """Return whether names in the order of a model's outputs are ImageNet's, nearly all of them."""
    if not has_subset(len(names)):
        return False
    info = _info(len(names))
    ids, words = info.label_names(), info.label_descriptions()
    fitting = sum(
        spelled_alike(own) in _spellings(identifier, text) or identifier in own
        for own, identifier, text in zip(names, ids, words, strict=True)
    )
    return fitting >= _MAJORITY * len(names)


def _spellings(identifier: str, words: str) -> set[str]:
    return {spelled_alike(text) for text in (identifier, words, *words.split(","))}


@cache
def _words() -> dict[str, int]:
    """Return indices by spelling; a spelling of several classes is left out."""
    info = _info(NUM_CLASSES)
    found: dict[str, set[int]] = {}
    # torchvision's names are one word a class, where timm has all words of WordNet.
    published = ResNet18_Weights.DEFAULT.meta["categories"]
    rows = zip(info.label_names(), info.label_descriptions(), published, strict=True)
    for index, (identifier, words, other) in enumerate(rows):
        for spelling in _spellings(identifier, words) | {spelled_alike(other)}:
            found.setdefault(spelling, set()).add(index)
    # "crane" is a bird and a machine, "maillot" two garments: such words name no class.
    return {spelling: indices.pop() for spelling, indices in found.items() if len(indices) == 1}


@cache
def _info(num_classes: int) -> ImageNetInfo:
    return ImageNetInfo(infer_imagenet_subset({"num_classes": num_classes}))
