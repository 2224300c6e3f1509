"""The interface by which a row makes its value: it settles what is inside, and counts the work."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from covtool.checkpoints.pickles.records import StorageRecord


class Storages(Protocol):
    """The bytes of a file's tensors."""

    def untyped(self, record: StorageRecord, dtype: torch.dtype) -> torch.UntypedStorage:
        """Return the bytes of one storage, as many as the record claims.

        Raises:
            PickleError: The file does not hold them.
        """


class Settle(Protocol):
    """What a row needs of `covtool.checkpoints.pickles.settling.Settling`.

    Attributes:
        storages: The bytes of the file's tensors.
    """

    storages: Storages

    def __call__(self, value: Any) -> Any:
        """Return what a record or a container becomes."""

    def spend(self, *, parts: int = 0, nbytes: int = 0) -> None:
        """Note how much is made.

        Raises:
            PickleError: All together is too much.
        """

    def pairs(self, items: Mapping) -> list[tuple[Any, Any]]:
        """Return the items of a mapping, each settled."""
