"""Inert stand-ins for what a pickle names: nothing behind them was imported, called or checked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

LONGEST_NAME = 1_000
"""Characters of the name of a class or a function, with its module."""


class PickleError(ValueError):
    """A pickle is malformed, or claims more than the file holds."""


class NestingError(PickleError):
    """Containers of a pickle hold themselves, or are nested too deeply."""


class CodeError(PickleError):
    """A pickle names what would run code.

    Attributes:
        names: The functions and classes, each ``module.name``.
    """

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


@dataclass(frozen=True, slots=True)
class GlobalName:
    """A class, a function or a constant that a pickle names."""

    module: str
    qualname: str

    @property
    def full(self) -> str:
        """Module and name."""
        return f"{self.module}.{self.qualname}"

    @property
    def kind(self) -> str:
        """Words for it in a message."""
        return f"the name {self.full}"


# Compared by identity, so that it can be hashed: a pickle may use one as a key.
@dataclass(slots=True, eq=False, repr=False)
class Placeholder:
    """An object of a class that is not built: what its pickle would have given to the class.

    Attributes:
        callee: The class, or the function that would have made the object.
        arguments: Positional arguments.
        keywords: Keyword arguments.
        state: Its attributes, as a rule; None where there are none.
        items: Items that would have filled it as a dictionary.
        elements: Elements that would have filled it as a list or a set.
    """

    callee: GlobalName
    arguments: tuple = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    state: Any = None
    items: dict[Any, Any] | None = None
    elements: list[Any] | None = None

    @property
    def name(self) -> str:
        """Module and name of the class."""
        return self.callee.full

    @property
    def kind(self) -> str:
        """Words for it in a message."""
        return f"an object of {self.name}"

    @property
    def attributes(self) -> dict[str, Any]:
        """Its attributes, those of slots included."""
        # An object with slots has a pair as its state: its dictionary, and its slots.
        parts = self.state if isinstance(self.state, tuple) else (self.state,)
        found = [part for part in parts if isinstance(part, Mapping)]
        return {k: v for part in found for k, v in part.items() if isinstance(k, str)}

    def __repr__(self) -> str:
        return f"<{self.kind}>"


@dataclass(frozen=True, slots=True)
class StorageRecord:
    """A tensor's bytes, as a pickle refers to them.

    Attributes:
        key: Name of the storage in the file.
        dtype: The name of the numbers' type in torch; ``untyped`` for bytes.
        numel: Number of elements that it should have.
        view: First number and count of the part that is meant; None for all.
    """

    key: str
    dtype: str
    numel: int
    view: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class UnusableTensor:
    """A tensor that is there, and that covtool does not read.

    Attributes:
        kind: ``quantized (qint8)``, ``sparse``, ...
    """

    kind: str
