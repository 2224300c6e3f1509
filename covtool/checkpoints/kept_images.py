"""What the training embeddings in a model's file are of: names that lead to images, no images.

A file is shared more widely than its training images: their paths are relative to the data set's
folder, and a digest of each file tells whether what lies there is still the same image.
"""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor, nn

from covtool.data.datasets.samples import Sample
from covtool.data.images.threads import in_threads
from covtool.documents import parse_json
from covtool.errors import ShapeError
from covtool.full_paths import absolute
from covtool.regular_files import opened

LARGEST = 64 << 20
"""Bytes of the names as text, at most: a small file may claim to hold much more."""

_DIGEST_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptImages:
    """What kept embeddings are of, in their order.

    Attributes:
        paths: Path of each image's file in the data set's folder, with ``/``; empty where the image
            is no file there.
        classes: Name of its class; empty where that is not known.
        digests: BLAKE2b of the file's bytes, 8 bytes in hexadecimal; empty where `paths` is.
    """

    paths: tuple[str, ...]
    classes: tuple[str, ...]
    digests: tuple[str, ...]

    @classmethod
    def of(
        cls, samples: Sequence[Sample], class_names: Sequence[str] | None, folder: Path
    ) -> "KeptImages":
        """Return the names of images.

        Args:
            samples: The images.
            class_names: Names of their labels; None where they are not known.
            folder: Folder of the data set.

        Raises:
            OSError: A file cannot be read any more.
        """
        root = absolute(folder)  # links as they are: a data set may be made of them
        paths = tuple(_within(sample.path, root) for sample in samples)
        files = [root / path if path else None for path in paths]
        return cls(
            paths=paths,
            classes=tuple("" if class_names is None else class_names[s.label] for s in samples),
            digests=tuple(in_threads(lambda file: _digest(file) if file else "", files)),
        )

    @classmethod
    def from_tensor(cls, packed: Tensor) -> "KeptImages":
        """Return the inverse of `packed`, of a file that may hold anything.

        Raises:
            ShapeError: It holds no such names.
        """
        if packed.dtype != torch.uint8 or packed.ndim != 1:
            raise ShapeError.expected("names of kept images", "(n,) uint8", packed)
        reader = zlib.decompressobj()
        try:
            text = reader.decompress(packed.numpy().tobytes(), LARGEST).decode()
            if not reader.eof:
                raise ShapeError("The names of kept images are cut off, or too many.")
            values = parse_json(text)
        except (zlib.error, ValueError) as problem:
            if isinstance(problem, ShapeError):
                raise
            raise ShapeError("The names of kept images cannot be read.") from problem
        names = ("paths", "classes", "digests")
        if not isinstance(values, dict) or set(values) != set(names):
            raise ShapeError(f"The names of kept images are {', '.join(names)}, and nothing else.")
        columns = [values[name] for name in names]
        if not all(isinstance(column, list) and _are_text(column) for column in columns):
            raise ShapeError("The names of kept images are no lists of text.")
        if not all(map(_is_within, values["paths"])):
            raise ShapeError("A kept image's path leads out of its data set.")
        if len({len(column) for column in columns}) > 1:
            raise ShapeError("The names of kept images are not as many of each kind.")
        return cls(**{name: tuple(values[name]) for name in names})

    @property
    def packed(self) -> Tensor:
        """The names as bytes, uint8, shape (n,)."""
        text = json.dumps(asdict(self), separators=(",", ":"), ensure_ascii=False)
        # Names may hold bytes that are no UTF-8, which Python keeps as half characters.
        data = zlib.compress(text.encode(errors="replace"), level=9)
        return torch.frombuffer(bytearray(data), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.paths)

    def file(self, number: int, folder: Path) -> Path | None:
        """Return the file of an image in a data set's folder; None where it is not the same one."""
        if not self.paths[number]:
            return None
        path = folder / self.paths[number]
        try:
            return path if _digest(path) == self.digests[number] else None
        except OSError:
            return None


def kept_images_of(model: nn.Module) -> KeptImages | None:
    """Return what a model's training embeddings are of; None where its file does not say."""
    recipe = getattr(model, "recipe", None)
    is_kept = recipe is not None and recipe.neighbors is not None
    return getattr(model, "neighbor_images", None) if is_kept else None


def _within(path: object, root: Path) -> str:
    """Return a file's path in a folder; empty where it is no file, or lies elsewhere."""
    if not isinstance(path, Path) or not path.is_file():
        return ""
    try:
        within = absolute(path).relative_to(root).as_posix()
    except ValueError:
        return ""
    return within if _is_within(within) else ""


def _digest(path: Path) -> str:
    with opened(path) as file:
        made = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES))
    return made.hexdigest()


def _are_text(values: list) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_within(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return not (path.startswith("/") or ".." in parts or "\\" in path or "\0" in path)
