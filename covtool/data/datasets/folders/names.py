"""Names of folders: the split that they mean, and words that are no class."""

import re
from collections.abc import Iterable

TRAIN_NAMES = ("train", "training", "trn")
VAL_NAMES = ("val", "validation", "valid", "dev", "eval", "evaluation")
TEST_NAMES = ("test", "testing", "tst")
SPLIT_NAMES = (*TRAIN_NAMES, *VAL_NAMES, *TEST_NAMES)
UNSPLIT = "all"
"""Name of the images of a data set without splits."""

ROLES = {"train": TRAIN_NAMES, "val": VAL_NAMES, "test": TEST_NAMES}

IMAGE_WORDS = frozenset(
    [
        "image",
        "images",
        "img",
        "imgs",
        "jpg",
        "jpeg",
        "jpegs",
        "jpegimages",
        "png",
        "pngs",
        "photo",
        "photos",
        "picture",
        "pictures",
        "pic",
        "pics",
        "frame",
        "frames",
    ]
)
TARGET_WORDS = frozenset(
    [
        "mask",
        "masks",
        "label",
        "labels",
        "annotation",
        "annotations",
        "annots",
        "segmentation",
        "segmentations",
        "trimap",
        "trimaps",
        "segmentationclass",
        "segmentationobject",
        "groundtruth",
        "gt",
        "depth",
    ]
)
PAPER_WORDS = frozenset(
    [
        "devkit",
        "meta",
        "metadata",
        "attributes",
        "attribute",
        "parts",
        "lists",
        "list",
        "splits",
        "split",
        "imagesets",
        "docs",
        "doc",
        "csv",
        "json",
        "xml",
        "xmls",
        "txt",
        "files",
        "code",
        "scripts",
        "src",
        "notebooks",
        "models",
        "checkpoints",
        "logs",
        "runs",
        "readme",
        "train_test_split",
    ]
)
PIECE_WORDS = frozenset(
    ["part", "parts", "batch", "fold", "folds", "chunk", "shard", "piece", "volume", "disk", "disc"]
)
NO_CLASS = IMAGE_WORDS | TARGET_WORDS | PAPER_WORDS
"""Words for parts of a data set, as opposed to the content of an image."""

LEFTOVERS = frozenset(
    {"@eadir", "lost+found", "$recycle.bin", "system volume information", "#recycle", "thumbs"}
)
"""Folders that file systems and their programs leave behind."""

# With one of these a split is still a split: ``my_train``, ``train_resized``.
_BESIDE_A_ROLE = IMAGE_WORDS | frozenset(
    [
        "set",
        "data",
        "dataset",
        "sets",
        "my",
        "new",
        "all",
        "full",
        "small",
        "resized",
        "cropped",
        "split",
        "folder",
        "files",
    ]
)


def is_left_over(name: str) -> bool:
    """Return whether a folder is hidden, of an archive (``__MACOSX``), or of the file system."""
    return name.startswith((".", "__")) or name.lower() in LEFTOVERS


def is_no_class(name: str) -> bool:
    """Return whether a name is made of words for parts of a data set: ``images``, ``png_masks``.

    Example:
        >>> [is_no_class(name) for name in ("JPEGImages", "images_001", "mask", "no_mask")]
        [True, True, True, False]
    """
    words = words_in(name)
    return name.lower() in NO_CLASS or (bool(words) and all(word in NO_CLASS for word in words))


def are_pieces(names: Iterable[str]) -> bool:
    """Return whether names number the pieces of a data set: ``images_part_1``, ``images_part_2``.

    Example:
        >>> are_pieces(["fold1", "fold2"]), are_pieces(["person_1", "person_2"])
        (True, False)
    """
    words = {words_in(name) for name in names}
    alike = words.pop() if len(words) == 1 else ()
    return any(word in IMAGE_WORDS | PIECE_WORDS for word in alike)


def exact_split(name: str) -> str | None:
    """Return ``train``, ``val`` or ``test`` for a name that means it, in any case; else None."""
    return next((role for role, names in ROLES.items() if name.lower() in names), None)


def implied_split(name: str) -> str | None:
    """Return the split that a part of a name means: ``cars_train``, ``test1``, ``validImages``.

    Example:
        >>> [implied_split(name) for name in ("cars_train", "test1", "train_val", "latest")]
        ['train', 'test', None, None]
    """
    roles = {role for word in words_in(name) if (role := _role_of(word))}
    return roles.pop() if len(roles) == 1 else None


def mentions_split(name: str) -> bool:
    """Return whether a split, or several, are among the words of a name: ``train_test_split``."""
    return any(word == "split" or _role_of(word) for word in words_in(name))


def without_split(name: str) -> tuple[str, ...]:
    """Return the words of a name without that for the split.

    Example:
        >>> without_split("cars_train"), without_split("Test1")
        (('cars',), ())
    """
    return tuple(word for word in words_in(name) if not _role_of(word))


def is_split_alone(name: str) -> bool:
    """Return whether a name means a split and has no other words that distinguish it."""
    return implied_split(name) is not None and all(
        word in _BESIDE_A_ROLE for word in without_split(name)
    )


def words_in(name: str) -> tuple[str, ...]:
    """Split a name into its words, in lower case and without numbers."""
    # camelCase has two words: ``validImages``.
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    return tuple(word.lower() for word in re.findall(r"[A-Za-z]+", apart))


def _role_of(word: str) -> str | None:
    # ``trainset`` and ``valimages``; ``data`` alone keeps its word.
    stem = re.sub(r"(set|data|images|imgs)$", "", word) or word
    return exact_split(stem)
