"""One look at every image: whether it can be read, what it is, and what its pixels are."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from covtool.auditing.perceptual_hashes import THUMBNAIL, perceptual_hash
from covtool.data.images.decoding import decoded_in, opened_image
from covtool.data.images.threads import in_threads
from covtool.errors import DataError
from covtool.progress import Track, silent

PIXEL_BYTES = 16  # of the digest of decoded pixels
MOST_NAMES = 255  # of formats and of modes; Pillow has fewer


class Look(NamedTuple):
    """What an image is; all but `problem` is empty for one that cannot be read."""

    problem: str | None = None
    format: str = ""
    mode: str = ""
    width: int = 0
    height: int = 0
    has_turn: bool = False
    is_dim: bool = False
    has_frames: bool = False
    pixels: bytes = b""
    hash: tuple[int, bytes] | None = None


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What n images are, in arrays: some 120 bytes an image.

    Attributes:
        formats: Number of each one's format in `format_names`, shape (n,); likewise `modes`.
        widths: Width in pixels, shape (n,), 0 for those that cannot be read; likewise `heights`.
        turned: Whether the EXIF orientation turns it, shape (n,); likewise `dim`, nearly black,
            and `frames`, the first of several.
        pixels: Digest of the decoded pixels, shape (n,), void; empty if they were not decoded.
        hashes: Perceptual hash, shape (n,), uint64; `hashed` says which there are, and
            `thumbnails` has the gray thumbnail of each, shape (n, 64).
        problems: Reasons of the images that cannot be read, by their places.
    """

    formats: np.ndarray
    modes: np.ndarray
    widths: np.ndarray
    heights: np.ndarray
    turned: np.ndarray
    dim: np.ndarray
    frames: np.ndarray
    pixels: np.ndarray
    hashes: np.ndarray
    hashed: np.ndarray
    thumbnails: np.ndarray
    format_names: list[str] = field(default_factory=list)
    mode_names: list[str] = field(default_factory=list)
    problems: dict[int, str] = field(default_factory=dict)

    @classmethod
    def empty(cls, count: int) -> "Looks":
        """Return what is known of so many images before a look at them."""

        def array(dtype: str) -> np.ndarray:
            return np.zeros(count, dtype)

        return cls(
            formats=array("u1"),
            modes=array("u1"),
            widths=array("u4"),
            heights=array("u4"),
            turned=array("?"),
            dim=array("?"),
            frames=array("?"),
            pixels=array(f"V{PIXEL_BYTES}"),
            hashes=array("u8"),
            hashed=array("?"),
            thumbnails=np.zeros((count, THUMBNAIL**2), "u1"),
        )

    def put_(self, at: int, look: Look) -> None:
        """Enter the look at an image."""
        if look.problem is not None:
            self.problems[at] = look.problem
            return
        self.formats[at] = _number_in(self.format_names, look.format)
        self.modes[at] = _number_in(self.mode_names, look.mode)
        self.widths[at], self.heights[at] = look.width, look.height
        self.turned[at], self.dim[at] = look.has_turn, look.is_dim
        self.frames[at] = look.has_frames
        if look.pixels:
            self.pixels[at] = np.void(look.pixels)
        if look.hash is not None:
            number, small = look.hash
            self.hashes[at], self.hashed[at] = number, True
            self.thumbnails[at] = np.frombuffer(small, "u1")

    @property
    def readable(self) -> np.ndarray:
        """Whether each image can be read, shape (n,)."""
        return self.widths > 0


def look_at(
    paths: Sequence[Path],
    *,
    pixels: bool = True,
    hashes: bool = True,
    workers: int | None = None,
    track: Track = silent,
) -> Looks:
    """Look at images, a few at a time in threads.

    Args:
        paths: Their files.
        pixels: Whether to decode them; else headers are read only, and a truncated file passes.
        hashes: Whether to compute perceptual hashes of the decoded ones.
        workers: Threads; by default one per core, at most 8.
        track: Display of the progress.
    """

    def look(path: Path) -> Look:
        return _look(path, pixels=pixels, hashes=hashes)

    found = Looks.empty(len(paths))
    looks = in_threads(look, paths, workers=workers)
    title = "looking at images" if pixels else "reading headers"
    for at, one in enumerate(track(looks, title, len(paths))):
        found.put_(at, one)
    return found


def _look(path: Path, *, pixels: bool, hashes: bool) -> Look:
    try:
        with opened_image(path) as image:
            known = {"format": image.format or "", "mode": image.mode}
            known |= {"width": image.width, "height": image.height}
            if not pixels:
                return Look(**known)
            decoded = decoded_in(image)
    except DataError as problem:
        return Look(problem.reason or problem.message)
    rgb = decoded.image
    digest = hashlib.blake2b(repr(rgb.size).encode(), digest_size=PIXEL_BYTES)
    digest.update(np.asarray(rgb))
    return Look(
        **known,
        has_turn=decoded.has_turn,
        is_dim=decoded.is_dim,
        has_frames=decoded.has_frames,
        pixels=digest.digest(),
        hash=perceptual_hash(rgb) if hashes else None,
    )


def _number_in(names: list[str], name: str) -> int:
    if name not in names and len(names) < MOST_NAMES:
        names.append(name)
    return names.index(name)
