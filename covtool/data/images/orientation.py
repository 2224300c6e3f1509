"""The EXIF orientation of an image: cameras store pixels as they come, and a tag to turn them."""

import struct

from PIL import ExifTags, Image

Turn = Image.Transpose

TURNS = {
    2: Turn.FLIP_LEFT_RIGHT,
    3: Turn.ROTATE_180,
    4: Turn.FLIP_TOP_BOTTOM,
    5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270,
    7: Turn.TRANSVERSE,
    8: Turn.ROTATE_90,
}
"""Operation that makes an image upright, by the value of the tag; 1 says that it is.

Pillow rotates counterclockwise."""

SIDEWAYS = frozenset((Turn.TRANSPOSE, Turn.ROTATE_270, Turn.TRANSVERSE, Turn.ROTATE_90))
"""Those that make height and width change places."""

DAMAGED = (SyntaxError, ValueError, LookupError, TypeError, OSError, EOFError, struct.error)


def turn_of(image: Image.Image) -> Turn | None:
    """Return the operation that makes an image upright; None where it is, as far as is known.

    Damaged EXIF data count as none. So do those of a TIFF file, which Pillow turns itself.
    """
    if image.format == "TIFF":
        return None
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except DAMAGED:
        return None


def note_on_turned(count: int, *, exif: bool, split: str = "") -> str | None:
    """Return a note on images that have an orientation; None where none has.

    Args:
        count: Number of these images.
        exif: Whether it is applied.
        split: Their split, in a word.
    """
    if not count:
        return None
    images = " ".join((f"{count:,}", *split.split(), "images" if count > 1 else "image"))
    verb = "are" if count > 1 else "is"
    if exif:
        return f"{images} {verb} turned by the EXIF orientation (--no-exif: as stored)."
    return (
        f"The EXIF orientation of {images} is not applied, as the model was made without it "
        "(--exif applies it)."
    )
