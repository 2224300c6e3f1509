"""Feature maps of all images of a data set, in memory or in files, batch by batch."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from covtool.atomic import saving, written_whole
from covtool.errors import CovtoolError, reason_of

BATCHES_IN_PART = 8
"""A part is written whole: so many batches are lost at most when a comparison is interrupted."""

Batch = Mapping[str, Tensor]
"""What is kept of a batch, by name: feature maps (b, ...), labels (b,)."""


class DamagedMapsError(CovtoolError):
    """A file of feature maps cannot be read."""


@dataclass
class MapStore:
    """What is kept of each batch, by name.

    A name's numbers of `BATCHES_IN_PART` batches are a part: in memory, or in one file.

    Args:
        batches: Number of batches of the data set.
        folder: Folder of the files; None for memory.
        is_kept: Whether the files stay when a comparison has ended, or was interrupted.
    """

    batches: int
    folder: Path | None = None
    is_kept: bool = True
    _memory: dict[tuple[str, int], list[Tensor]] = field(default_factory=dict)

    @property
    def parts(self) -> int:
        """Number of parts."""
        return -(-self.batches // BATCHES_IN_PART)

    def batches_of(self, part: int) -> range:
        """Return the batches of a part."""
        start = part * BATCHES_IN_PART
        return range(start, min(start + BATCHES_IN_PART, self.batches))

    def has(self, name: str, part: int) -> bool:
        """Return whether a part is there."""
        if self.folder is None:
            return (name, part) in self._memory
        return self._file(name, part).exists()

    def put(self, name: str, part: int, tensors: list[Tensor]) -> None:
        """Keep a part: one tensor for each of its batches.

        Raises:
            SaveError: The system refuses to write.
        """
        if self.folder is None:
            self._memory[name, part] = tensors
            return
        path = self._file(name, part)
        with saving(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        numbered = {str(i): t.contiguous() for i, t in enumerate(tensors)}
        if self.is_kept:
            with written_whole(path) as file:
                save_file(numbered, file)
        else:  # no output: after an interruption no message names it
            with saving(path):
                save_file(numbered, path)

    def batch(self, name: str, batch: int) -> Tensor:
        """Return what is kept of a batch.

        Raises:
            DamagedMapsError: Its file cannot be read.
        """
        part, place = divmod(batch, BATCHES_IN_PART)
        if self.folder is None:
            return self._memory[name, part][place]
        path = self._file(name, part)
        try:
            with safe_open(path, framework="pt") as file:
                return file.get_tensor(str(place))
        except Exception as problem:  # safetensors has errors of its own, and the system others
            raise DamagedMapsError(
                f"The feature maps in {path} cannot be read.",
                reason=reason_of(problem),
                hint="Remove this file: it is made again.",
            ) from problem

    def every(self, name: str) -> Iterator[Tensor]:
        """Yield what is kept of each batch, in order."""
        for batch in range(self.batches):
            yield self.batch(name, batch)

    def all_of(self, name: str) -> Tensor:
        """Return what is kept of all images, in order."""
        return torch.cat(list(self.every(name)))

    def drop(self, name: str) -> None:
        """Forget what is kept in memory of a name; files stay."""
        for key in [key for key in self._memory if key[0] == name]:
            del self._memory[key]

    def _file(self, name: str, part: int) -> Path:
        assert self.folder is not None
        # A name may be longer than a file's may be, and hold what no file's may.
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        return self.folder / digest / f"part-{part:05d}.safetensors"
