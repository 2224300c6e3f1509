"""Files of several formats in one data set."""

from collections.abc import Mapping


def note_on_formats(counts: Mapping[str, int]) -> str | None:
    """Return a note on images of several formats; None where all have the same.

    Args:
        counts: Number of images by Pillow's name of the format.

    Example:
        >>> note_on_formats({"PNG": 2, "JPEG": 1200})
        'Images have several formats: 1,200 JPEG, 2 PNG.'
    """
    if len(counts) < 2:
        return None
    order = sorted(counts, key=lambda name: (-counts[name], name))
    named = ", ".join(f"{counts[name]:,} {name or 'unknown'}" for name in order)
    return f"Images have several formats: {named}."
