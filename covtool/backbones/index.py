"""The tensors of every known architecture, compact and quick to search.

Names, shapes and (name, shape) pairs are stored once each; an architecture is a run of numbers of
such pairs. A file of it is lzma over a JSON line and the numbers.
"""

import json
import lzma
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from covtool.atomic import written_whole
from covtool.backbones.fingerprint import Architecture, Fingerprint, Shape

FORMAT = 1
_NORMS = ("norm.", "fc_norm.")
_ARRAYS = ("pair_names", "pair_shapes", "pairs", "lengths")


@dataclass(frozen=True)
class ArchitectureIndex:
    """Architectures and their tensors.

    Attributes:
        versions: Versions of the libraries that built them, by name.
        architectures: One per row, M of them.
        names: Distinct names of tensors.
        shapes: Distinct shapes.
        pair_names: Number of the name of each distinct pair, shape (P,), int32.
        pair_shapes: Number of its shape, shape (P,), int32.
        pairs: Numbers of the pairs of all architectures, one after the other, shape (T,), int32.
        lengths: Number of tensors of each architecture, shape (M,), int32.
    """

    versions: dict[str, str]
    architectures: tuple[Architecture, ...]
    names: tuple[str, ...]
    shapes: tuple[Shape, ...]
    pair_names: np.ndarray
    pair_shapes: np.ndarray
    pairs: np.ndarray
    lengths: np.ndarray

    @cached_property
    def ends(self) -> np.ndarray:
        """Where each architecture's run ends, shape (M,)."""
        return np.cumsum(self.lengths)

    @cached_property
    def owners(self) -> np.ndarray:
        """Row of each of `pairs`, shape (T,)."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def body_lengths(self) -> np.ndarray:
        """How many tensors each architecture has without its classifiers, shape (M,)."""
        heads = np.bincount(self.owners[self.is_classifier], minlength=len(self.lengths))
        return self.lengths - heads

    @cached_property
    def name_numbers(self) -> dict[str, int]:
        """Number of each name."""
        return {name: number for number, name in enumerate(self.names)}

    @cached_property
    def shape_numbers(self) -> dict[Shape, int]:
        """Number of each shape."""
        return {shape: number for number, shape in enumerate(self.shapes)}

    @cached_property
    def is_classifier(self) -> np.ndarray:
        """Which of `pairs` belong to a classifier of their architecture, shape (T,), bool."""
        result = np.zeros(len(self.pairs), dtype=bool)
        for prefix in {head for a in self.architectures for head in a.classifiers}:
            below = np.zeros(len(self.names), dtype=bool)
            below[self._names_below(prefix)] = True
            owning = np.array([prefix in a.classifiers for a in self.architectures])
            # By prefix, not by architecture: there are far fewer prefixes.
            of_prefix = np.flatnonzero(below[self.pair_names][self.pairs])
            result[of_prefix[owning[self.owners[of_prefix]]]] = True
        return result

    @cached_property
    def body_ends(self) -> dict[str, set[str]]:
        """First names of bodies to the last ones that go with them.

        Norms at the end are left out: with another pooling they have another name.
        """
        found: dict[str, set[str]] = {}
        for row, end in enumerate(self.ends):
            start = end - self.lengths[row]
            body = self.pair_names[self.pairs[start:end][~self.is_classifier[start:end]]]
            last = (self.names[n] for n in reversed(body) if not self.names[n].startswith(_NORMS))
            name = next(last, None)
            if name is not None:
                found.setdefault(self.names[body[0]], set()).add(name)
        return found

    @cached_property
    def _alphabetical(self) -> list[str]:
        return sorted(self.names)

    def _names_below(self, prefix: str) -> list[int]:
        first = bisect_left(self._alphabetical, f"{prefix}.")
        last = bisect_left(self._alphabetical, f"{prefix}/")  # the character after the dot
        return [self.name_numbers[name] for name in self._alphabetical[first:last]]

    def row_pairs(self, row: int) -> np.ndarray:
        """Return numbers of the pairs of an architecture."""
        return self.pairs[self.ends[row] - self.lengths[row] : self.ends[row]]

    def tensors(self, row: int) -> tuple[tuple[str, Shape], ...]:
        """Return names and shapes of an architecture, in the order of its state dict."""
        numbers = self.row_pairs(row)
        names, shapes = self.pair_names[numbers].tolist(), self.pair_shapes[numbers].tolist()
        return tuple((self.names[n], self.shapes[s]) for n, s in zip(names, shapes, strict=True))

    def find(self, library: str, name: str) -> tuple[int, ...]:
        """Rows of an architecture: more than one where it is stored with several arguments."""
        return tuple(
            row
            for row, known in enumerate(self.architectures)
            if (known.library, known.name) == (library, name)
        )

    def fingerprints(self) -> Iterable[Fingerprint]:
        """Yield every architecture with its tensors."""
        for row, architecture in enumerate(self.architectures):
            yield Fingerprint(architecture=architecture, tensors=self.tensors(row))

    def only(self, rows: Sequence[int]) -> "ArchitectureIndex":
        """Return the index of some of the rows; names, shapes and pairs keep their numbers."""
        if len(rows) == len(self.architectures):
            return self
        runs = [self.row_pairs(row) for row in rows]
        return replace(
            self,
            architectures=tuple(self.architectures[row] for row in rows),
            # The empty one in front: numpy refuses to join no arrays at all.
            pairs=np.concatenate([np.empty(0, np.int32), *runs]),
            lengths=self.lengths[list(rows)],
        )


def make_index(fingerprints: Iterable[Fingerprint], versions: dict[str, str]) -> ArchitectureIndex:
    """Return the index of some architectures."""
    names: dict[str, int] = {}
    shapes: dict[Shape, int] = {}
    numbered: dict[tuple[int, int], int] = {}
    architectures, pairs, lengths = [], [], []
    for fingerprint in fingerprints:
        architectures.append(fingerprint.architecture)
        lengths.append(len(fingerprint.tensors))
        for name, shape in fingerprint.tensors:
            # The length is taken before the key goes in: a new one gets the next number.
            pair = names.setdefault(name, len(names)), shapes.setdefault(shape, len(shapes))
            pairs.append(numbered.setdefault(pair, len(numbered)))
    pair_array = np.array(list(numbered), dtype=np.int32).reshape(-1, 2)
    return ArchitectureIndex(
        versions=versions,
        architectures=tuple(architectures),
        names=tuple(names),
        shapes=tuple(shapes),
        pair_names=np.ascontiguousarray(pair_array[:, 0]),
        pair_shapes=np.ascontiguousarray(pair_array[:, 1]),
        pairs=np.array(pairs, dtype=np.int32),
        lengths=np.array(lengths, dtype=np.int32),
    )


def write_index(index: ArchitectureIndex, path: Path) -> None:
    """Write an index, whole or not at all."""
    arrays = [getattr(index, name) for name in _ARRAYS]
    header = {
        "format": FORMAT,
        "versions": index.versions,
        "architectures": [list(asdict(a).values()) for a in index.architectures],
        "names": index.names,
        "shapes": index.shapes,
        "lengths": [len(array) for array in arrays],
    }
    # Neighbors are often consecutive numbers: their differences compress to a third.
    steps = b"".join(_planes(np.diff(a, prepend=np.int32(0))) for a in arrays)
    text = json.dumps(header, separators=(",", ":")).encode()
    packed = lzma.compress(text + b"\n" + steps, preset=9 | lzma.PRESET_EXTREME)
    with written_whole(path) as temporary:
        temporary.write_bytes(packed)


def read_index(path: Path) -> ArchitectureIndex:
    """Read what `write_index` wrote.

    Raises:
        ValueError: It is something else, or damaged.
    """
    try:
        text, _, steps = lzma.decompress(path.read_bytes()).partition(b"\n")
    except (lzma.LZMAError, EOFError) as problem:
        raise ValueError(f"{path} is not an index of architectures: {problem}") from problem
    header = json.loads(text)
    if header.get("format") != FORMAT:
        raise ValueError(f"{path} is an index of another format.")
    arrays, start = {}, 0
    for name, length in zip(_ARRAYS, header["lengths"], strict=True):
        arrays[name] = np.cumsum(_unplaned(steps[start : start + 4 * length]), dtype=np.int32)
        start += 4 * length
    return ArchitectureIndex(
        versions=header["versions"],
        architectures=tuple(
            Architecture(library=library, name=name, classifiers=tuple(heads), arguments=arguments)
            for library, name, heads, arguments in header["architectures"]
        ),
        names=tuple(header["names"]),
        shapes=tuple(map(tuple, header["shapes"])),
        **arrays,
    )


def _planes(values: np.ndarray) -> bytes:
    """Return the bytes of little-endian int32 values, all the lowest ones first."""
    # High bytes of small differences are nearly all zero: apart, they compress to nothing.
    return values.astype("<i4").view(np.uint8).reshape(-1, 4).T.tobytes()


def _unplaned(data: bytes) -> np.ndarray:
    planes = np.frombuffer(data, dtype=np.uint8).reshape(4, -1)
    return np.ascontiguousarray(planes.T).view("<i4").ravel()
