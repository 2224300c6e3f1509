"""Perceptual hashes of images, and pairs of them that differ in few bits."""

from collections.abc import Iterator
from importlib.util import find_spec

import numpy as np
from PIL import Image

BITS = 64
FLAT = 3.0
"""Standard deviation of gray below which an image has no hash: that of a plain area is noise."""

THUMBNAIL = 8
"""Pixels of the side of a thumbnail."""
LEAST_CORRELATION = 0.9
"""Correlation of the thumbnails of two pictures that look alike."""

_SIDE = 32  # of the thumbnail that says whether an image is flat
_ROWS, _COLUMNS = 512, 1 << 15  # pairs that are compared at a time: 128 MiB


def has_hashes() -> bool:
    """Return whether the package imagehash is installed, which computes them."""
    return find_spec("imagehash") is not None


def perceptual_hash(image: Image.Image) -> tuple[int, bytes] | None:
    """Return the 64-bit pHash of an image and its gray thumbnail; None for a plain area.

    Scaling and compression change few bits, cropping many. Patterns without a large shape, such as
    stripes, have much the same bits whatever they look like: the thumbnail tells them apart.

    Source:
        Zauner. "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010; the
        package imagehash.
    """
    from imagehash import phash

    gray = image.convert("L")
    if np.asarray(gray.resize((_SIDE, _SIDE), Image.Resampling.BOX)).std() < FLAT:
        return None
    small = gray.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return int.from_bytes(np.packbits(phash(gray).hash).tobytes(), "big"), small.tobytes()


def thumbnails_agree(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two gray thumbnails, of any one shape, are strongly correlated."""
    first, second = (values.astype(float).ravel() for values in (one, other))
    first, second = first - first.mean(), second - second.mean()
    lengths = np.linalg.norm(first) * np.linalg.norm(second)
    return bool(lengths > 0 and first @ second >= LEAST_CORRELATION * lengths)


def close_pairs(hashes: np.ndarray, most: int) -> Iterator[tuple[int, int, int]]:
    """Yield pairs of hashes that differ in few bits: their places, i < j, and the difference.

    Every pair is compared, a block at a time: time grows with the square of their number.

    Args:
        hashes: Shape (n,), uint64.
        most: Bits that a pair may differ in.
    """
    for top in range(0, len(hashes), _ROWS):
        rows = hashes[top : top + _ROWS, None]
        for left in range(top, len(hashes), _COLUMNS):
            bits = _bits_set(rows ^ hashes[None, left : left + _COLUMNS])
            for i, j in np.argwhere(bits <= most):
                if top + i < left + j:
                    yield int(top + i), int(left + j), int(bits[i, j])


def _bits_set(words: np.ndarray) -> np.ndarray:
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.bitwise_count(words)
    bits = np.unpackbits(words[..., None].view(np.uint8), axis=-1)
    return bits.sum(axis=-1, dtype=np.uint8)
