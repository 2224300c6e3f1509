"""Files of several images: animations, and the pages of a TIFF. The first one is read."""

from PIL import Image

from covtool.data.images.orientation import DAMAGED

ONE_PHOTO = frozenset(("MPO", "JPEG", "ICO", "ICNS"))
"""Formats whose further images are the same picture again: previews, other sizes, depth."""


def has_frames(image: Image.Image) -> bool:
    """Return whether a decoded file holds more images than the one that is read.

    A damaged second image counts as none: the first one was read to its end.
    """
    if image.format in ONE_PHOTO:
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except DAMAGED:
        return False


def note_on_frames(count: int) -> str | None:
    """Return a note on files of several images; None where there are none."""
    if not count:
        return None
    files = f"{count:,} files hold" if count > 1 else "1 file holds"
    return (
        f"{files} several images (an animation, or pages): the first of each is read, and the "
        "others are left out."
    )
