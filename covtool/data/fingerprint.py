"""What a set of images is, in a few characters: to notice that it has become another."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from covtool.data.layouts import Sample


def fingerprint(samples: Sequence[Sample], root: Path) -> str:
    """Number of images, and a hash over their names and labels in order.

    Args:
        samples: The images.
        root: What their paths are taken relative to: a data set that moved is the same.

    Example:
        >>> fingerprint([Sample(Path("a/cats/1.jpg"), 0)], Path("a"))
        '1 images, 0ee35fd15abd'
    """
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(f"{os.path.relpath(sample.path, root)}\0{sample.label}\n".encode())
    return f"{len(samples)} images, {digest.hexdigest()[:12]}"
