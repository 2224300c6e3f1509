"""A file's values without the file: tensors that lie on the disk are copied."""

from typing import Any

from torch import Tensor

from covtool.checkpoints.pickles.records import (
    GlobalName,
    PickleError,
    Placeholder,
    UnusableTensor,
)


def in_memory(value: Any, *, at_most: int) -> Any:
    """Return plain values with tensors, those tensors copied; what is shared stays shared.

    Args:
        value: Value from a file.
        at_most: Bytes of all tensors, of which several may be the same bytes of the file.

    Raises:
        PickleError: There is an object of another kind among them, or they are larger.
    """
    return _Copies(at_most)(value)


class _Copies:
    def __init__(self, at_most: int) -> None:
        self._bytes_left = at_most
        self._made: dict[int, tuple[Any, Any]] = {}

    def __call__(self, value: Any) -> Any:
        if not isinstance(value, Tensor | dict | list | tuple):
            if isinstance(value, Placeholder | GlobalName):
                raise PickleError(f"It holds {value.kind}.")
            if isinstance(value, UnusableTensor):
                raise PickleError(f"It holds a tensor that is {value.kind}.")
            return value
        # Kept beside its copy, so that its id is not given to another value meanwhile.
        if id(value) not in self._made:
            self._made[id(value)] = value, self._copied(value)
        return self._made[id(value)][1]

    def _copied(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            # Views may overlap, and copies do not: a small file could fill the memory.
            self._bytes_left -= value.numel() * value.element_size()
            if self._bytes_left < 0:
                raise PickleError("Its tensors are many times larger than the file.")
            return value.clone()
        if isinstance(value, dict):
            return {self._of_key(k): self(v) for k, v in value.items()}
        return type(value)(self(part) for part in value)

    def _of_key(self, key: Any) -> Any:
        if isinstance(key, Placeholder):
            raise PickleError(f"It holds {key.kind}.")
        return key
