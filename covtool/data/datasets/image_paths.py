"""Paths of many images as columns: some thirty bytes of each, where a `Path` takes hundreds.

A million objects also are a million counts of references, which every worker process that reads
them copies; columns are a few blocks of bytes, which forked processes share.
"""

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from operator import add
from pathlib import Path
from typing import Self, overload

import numpy as np

AT_ONCE = 1 << 14
"""Paths whose bounds are Python's numbers at a time."""


class ImagePaths(Sequence[Path]):
    """Paths, each of which is made when it is asked for.

    Args:
        folders: Different folders as text, each with the separator at its end; "" for none.
        folder: Number of each path's folder, int32, (N,).
        names: Names of the files, one after the other, in UTF-8.
        starts: Start of each name, and the end of the last, (N + 1,).
    """

    __slots__ = ("_folder", "_names", "_starts", "folders")

    def __init__(
        self, folders: tuple[str, ...], folder: np.ndarray, names: bytes, starts: np.ndarray
    ) -> None:
        self.folders = folders
        self._folder = folder
        self._names = names
        # Half the bytes, as far as they reach.
        fits = len(names) < 1 << 32
        self._starts = starts.astype(np.uint32 if fits else np.int64, copy=False)

    @classmethod
    def of_texts(cls, texts: Iterable[str]) -> "ImagePaths":
        """Return paths that are given as text, as `os.fspath` has them."""
        made = ImagePathsBuilder()
        for text in texts:
            made.append(text)
        return made.done()

    @classmethod
    def in_folders(cls, places: Iterable[tuple[Path, Sequence[str]]]) -> Self:
        """Return the paths of files that are given by folder, as a walk finds them."""
        folders, counts, names = [], [], []
        for place, files in places:
            if files:
                folders.append(str(place / "-")[:-1])  # with the separator; "" for Path(".")
                counts.append(len(files))
                names += [_bytes_of(name) for name in files]
        starts = np.zeros(len(names) + 1, np.int64)
        np.cumsum([len(name) for name in names], out=starts[1:])
        numbers = np.repeat(np.arange(len(folders), dtype=np.int32), counts)
        return cls(tuple(folders), numbers, b"".join(names), starts)

    @classmethod
    def joined(cls, parts: Sequence["ImagePaths"]) -> "ImagePaths":
        """Return the paths of all parts, one after the other."""
        folders: dict[str, int] = {}
        numbers, starts, size = [], [np.zeros(1, np.int64)], 0
        for part in parts:
            new = [folders.setdefault(folder, len(folders)) for folder in part.folders]
            numbers.append(np.array(new, np.int32)[part.folder])
            starts.append(part._starts[1:].astype(np.int64) + size)
            size += len(part._names)
        return cls(
            tuple(folders),
            np.concatenate([np.empty(0, np.int32), *numbers]),
            b"".join(part._names for part in parts),
            np.concatenate(starts),
        )

    @property
    def folder(self) -> np.ndarray:
        """Number of each path's folder among `folders`, (N,)."""
        return self._folder

    def __len__(self) -> int:
        return len(self._folder)

    def text(self, index: int) -> str:
        """Return a path as text."""
        start, end = self._starts[index : index + 2].tolist()
        return self.folders[self._folder[index]] + _text_of(self._names[start:end])

    def names(self) -> Iterator[str]:
        """Yield the name of each file, without its folder."""
        for at in range(0, len(self), AT_ONCE):
            yield from self._texts_of(at, at + AT_ONCE)

    def texts(self, folders: Sequence[str] | None = None) -> Iterator[str]:
        """Yield each path as text.

        Args:
            folders: Texts in place of those of the folders, as relative to another one.
        """
        folder_of = (self.folders if folders is None else folders).__getitem__
        for at in range(0, len(self), AT_ONCE):
            numbers = self._folder[at : at + AT_ONCE].tolist()
            yield from map(add, map(folder_of, numbers), self._texts_of(at, at + AT_ONCE))

    def by_folder(self) -> Iterator[tuple[str, int, Iterator[tuple[list[int], list[str]]]]]:
        """Yield each folder, the number of paths in it, and their places and names, by parts."""
        order = np.argsort(self._folder, kind="stable")
        counts = np.bincount(self._folder, minlength=len(self.folders))
        each = np.split(order, counts.cumsum())[:-1]  # the last one is empty
        for folder, places in zip(self.folders, each, strict=True):
            yield folder, len(places), self._named(places)

    def _named(self, places: np.ndarray) -> Iterator[tuple[list[int], list[str]]]:
        for at in range(0, len(places), AT_ONCE):
            part = places[at : at + AT_ONCE]
            first, end = int(part[0]), int(part[-1]) + 1
            if end - first == len(part):  # in a row, since they ascend
                yield part.tolist(), self._texts_of(first, end)
                continue
            bounds = zip(self._starts[part].tolist(), self._starts[part + 1].tolist(), strict=True)
            yield part.tolist(), [_text_of(self._names[start:end]) for start, end in bounds]

    def _texts_of(self, first: int, end: int) -> list[str]:
        """Return the names of paths in a row."""
        bounds = self._starts[first : end + 1]
        together = self._names[bounds[0] : bounds[-1]]
        pairs = pairwise((bounds - bounds[0]).tolist())
        if together.isascii():  # then a character is a byte
            text = together.decode("ascii")
            return [text[start:end] for start, end in pairs]
        return [_text_of(together[start:end]) for start, end in pairs]

    def only(self, rows: Sequence[int] | np.ndarray) -> "ImagePaths":
        """Return some of the paths, by their indices."""
        rows = np.asarray(rows, dtype=np.int64)
        first, after = self._starts[:-1][rows].astype(np.int64), self._starts[1:][rows]
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(after - first, out=starts[1:])
        bounds = zip(first.tolist(), after.tolist(), strict=True)
        names = b"".join(self._names[start:end] for start, end in bounds)
        used, folder = np.unique(self._folder[rows], return_inverse=True)
        folders = tuple(self.folders[number] for number in used)
        return ImagePaths(folders, folder.astype(np.int32), names, starts)

    @overload
    def __getitem__(self, index: int) -> Path: ...
    @overload
    def __getitem__(self, index: slice) -> "ImagePaths": ...
    def __getitem__(self, index: int | slice) -> "Path | ImagePaths":
        if isinstance(index, slice):
            return self.only(range(*index.indices(len(self))))
        return Path(self.text(range(len(self))[index]))  # counts from the end, and knows the end

    def __iter__(self) -> Iterator[Path]:
        return map(Path, self.texts())

    def __eq__(self, other: object) -> bool:
        return _are_equal(self, other)

    __hash__ = None  # type: ignore[assignment]


class ImagePathsBuilder:
    """Paths as they come, one after the other, as text."""

    def __init__(self) -> None:
        self._folders: dict[str, int] = {}
        self._numbers, self._names, self._starts = array("i"), bytearray(), array("q", [0])

    def append(self, text: str) -> None:
        """Add a path, as `os.fspath` has it."""
        cut = text.rfind(os.sep) + 1
        self._numbers.append(self._folders.setdefault(text[:cut], len(self._folders)))
        self._names += _bytes_of(text[cut:])
        self._starts.append(len(self._names))

    def extend(self, texts: Sequence[str]) -> None:
        """Add many paths."""
        parts = [text.rpartition(os.sep) for text in texts]
        folders, number = self._folders, self._folders.setdefault
        self._numbers.extend([number(folder + sep, len(folders)) for folder, sep, _ in parts])
        names: Sequence[str | bytes] = [name for _, _, name in parts]
        together = "".join(names)
        if not together.isascii():  # else a character is a byte
            names = list(map(_bytes_of, names))
        self._starts.extend(accumulate(map(len, names), initial=self._starts.pop()))
        self._names += _bytes_of(together)

    def done(self) -> ImagePaths:
        """Return the paths."""
        folder, starts = np.array(self._numbers, np.int32), np.array(self._starts, np.int64)
        return ImagePaths(tuple(self._folders), folder, bytes(self._names), starts)


def texts_below(folder: Path) -> Callable[[str], str]:
    """Return a function of a path to its text below a folder, as `os.fspath(folder / path)`."""
    begin = str(folder / "-")[:-1]

    def below(path: str) -> str:
        # Most paths of a list are plain: `Path` takes ten times longer.
        odd = os.altsep or path[:1] in (os.sep, ".") or "//" in path or "/." in path
        return str(folder / path) if odd or path.endswith(os.sep) else begin + path

    return below


def all_below(folder: Path, paths: Sequence[str]) -> list[str]:
    """Return what `texts_below` returns for each of many paths."""
    if not paths:
        return []
    joined = "\n" + "\n".join(paths) + "\n"
    odd = ("\n.", "\n" + os.sep, os.sep + "\n", "\n\n", "//", "/.")
    if os.altsep or any(part in joined for part in odd):
        return list(map(texts_below(folder), paths))
    begin = str(folder / "-")[:-1]
    return [begin + path for path in paths]


def relative_folder(folder: str, root: Path) -> str:
    """Return how a folder of `ImagePaths` is called from another one, with the separator."""
    relative = os.path.relpath(folder or os.curdir, root)
    return "" if relative == os.curdir else relative + os.sep


def _are_equal(one: Sequence[object], other: object) -> bool:
    if not isinstance(other, Sequence) or isinstance(other, str | bytes):
        return False
    return len(one) == len(other) and all(a == b for a, b in zip(one, other, strict=True))


def _bytes_of(name: str) -> bytes:
    # Any text comes back as it was, that of names that are no text as well.
    return name.encode("utf-8", "surrogatepass")


def _text_of(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")
