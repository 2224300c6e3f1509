"""Why files beside the images of a data set are no images to covtool."""

from collections.abc import Mapping

from PIL import Image

from covtool.data.images.formats import LEFT_ALONE

OTHERS = {
    **dict.fromkeys((".heic", ".heif"), "HEIF, which Pillow does not read: convert it"),
    **dict.fromkeys(
        (".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2"),
        "a camera's raw data, which Pillow does not read: convert it",
    ),
    ".jxl": "JPEG XL, which Pillow does not read: convert it",
    ".svg": "a drawing, not pixels",
    ".pdf": "a document, not an image",
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm"), "a film, not an image"),
    **dict.fromkeys((".npy", ".npz"), "an array, not an image"),
    **dict.fromkeys((".exr", ".hdr"), "an image of unbounded range, which Pillow does not read"),
}
"""Reasons by suffix, for images and the like of other programs."""


def reasons_of(suffixes: Mapping[str, int]) -> dict[str, tuple[int, str]]:
    """Return count and reason of files by suffix, most files first.

    Example:
        >>> reasons_of({".heic": 3})
        {'.heic': (3, 'HEIF, which Pillow does not read: convert it')}
    """
    Image.init()
    known = Image.registered_extensions()
    order = sorted(suffixes, key=lambda suffix: (-suffixes[suffix], suffix))
    found = {}
    for suffix in order:
        reason = OTHERS.get(suffix) or LEFT_ALONE.get(known.get(suffix, ""))
        found[suffix or "(none)"] = suffixes[suffix], reason or "no suffix of an image"
    return found
