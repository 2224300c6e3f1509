"""Inert records become values: the few that are rebuilt, each by a function of covtool's own."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import chain
from typing import Any

from covtool.checkpoints.pickles.configs import CONFIGS
from covtool.checkpoints.pickles.keys import require_key
from covtool.checkpoints.pickles.numbers import NUMBERS
from covtool.checkpoints.pickles.python_values import PYTHON_VALUES
from covtool.checkpoints.pickles.records import (
    GlobalName,
    NestingError,
    PickleError,
    Placeholder,
)
from covtool.checkpoints.pickles.settle import Settle, Storages
from covtool.checkpoints.pickles.tensors import DTYPES, TENSORS

MOST_LEVELS = 64
"""Levels of containers inside one another."""

MOST_PARTS = 6_000_000
"""Elements, items and arguments of all of a file's containers and objects, those that are shared
counted for each object that they belong to. 100,000 tensors have as many."""

_CONTAINER, _OBJECT = 5, 10  # parts that each takes the time and the memory of

MOST_BYTES = 1 << 24
"""Bytes of the text, the bytes and the arrays that are made of a pickle, beside `BYTES_PER_BYTE`
for each of its own."""

BYTES_PER_BYTE = 8

# What a class's or a function's record becomes. `settle` is for what is inside of it.
Row = Callable[[Placeholder, Settle], Any]
REBUILT: Mapping[str, Row] = {**PYTHON_VALUES, **NUMBERS, **CONFIGS, **TENSORS}

_BUSY = object()


class Settling(Settle):
    """One file's records on their way to values; what is shared is rebuilt once.

    Args:
        storages: The bytes of the file's tensors.
        pickled: Number of bytes that the records were read from.
    """

    def __init__(self, storages: Storages, pickled: int = 0) -> None:
        self.storages = storages
        self._level = 0
        self._parts_left = MOST_PARTS
        self._bytes_left = MOST_BYTES + BYTES_PER_BYTE * pickled
        self._settled: dict[int, tuple[Any, Any]] = {}
        self._waiting: list[Placeholder] = []

    def whole(self, value: Any) -> Any:
        """Return a file's value, and what is inside of the objects that stay placeholders.

        Raises:
            PickleError: Containers hold themselves, or are nested too deeply, or a tensor claims
                more than the file holds.
        """
        settled = self(value)
        # A loop and not recursion: objects refer to each other in chains of any length.
        while self._waiting:
            self._settle_inside(self._waiting.pop())
        return settled

    def __call__(self, value: Any) -> Any:
        """Return what a record or a container becomes."""
        if isinstance(value, GlobalName):
            return DTYPES.get(value.full, value)
        if not isinstance(value, dict | list | tuple | Placeholder):
            return value
        # The value is kept beside its id: an id is free for another object once its own is
        # collected.
        _, known = self._settled.get(id(value), (None, None))
        # Met again while it is being made: a container that holds itself, which no JSON could show.
        if known is _BUSY:
            raise NestingError("Something in it holds itself.")
        if known is not None:
            return known
        if self._level == MOST_LEVELS:
            raise NestingError(f"It has more than {MOST_LEVELS} levels of containers.")
        self._settled[id(value)] = value, _BUSY
        self._level += 1
        try:
            made = self._made(value)
        finally:
            self._level -= 1
        self._settled[id(value)] = value, made
        return made

    def spend(self, *, parts: int = 0, nbytes: int = 0) -> None:
        """Note how much is made; what many objects share could otherwise be made over and over.

        Raises:
            PickleError: All together is too much.
        """
        self._parts_left -= parts
        self._bytes_left -= nbytes
        if self._parts_left < 0:
            raise PickleError(f"Its values have more than {MOST_PARTS:,} parts.")
        if self._bytes_left < 0:
            raise PickleError("Its values are many times larger than the file.")

    def pairs(self, items: Mapping) -> list[tuple[Any, Any]]:
        """Return the items of a mapping, each settled."""
        return [(self._key(key), self(value)) for key, value in items.items()]

    def _made(self, value: Any) -> Any:
        self._spend_on(value)
        if isinstance(value, dict):
            return dict(self.pairs(value))
        if isinstance(value, list | tuple):
            parts = [self(part) for part in value]
            return tuple(parts) if isinstance(value, tuple) else parts
        row = REBUILT.get(value.name)
        made = NotImplemented if row is None else row(value, self)
        # A row declines what it does not know, say a newer format: then the content alone decides.
        if made is NotImplemented:
            made = self._by_content(value)
        return made

    def _spend_on(self, value: Any) -> None:
        """Count what goes into a container or an object, and one level further, where rows look."""
        if not isinstance(value, Placeholder):
            self.spend(parts=_CONTAINER + len(value))
            return
        state = value.state if isinstance(value.state, tuple) else (value.state,)
        given = [value.keywords, value.items or (), value.elements or (), value.arguments, state]
        self.spend(parts=_OBJECT + sum(map(len, given)))
        for part in chain(value.arguments, state):
            if isinstance(part, str | bytes | bytearray):
                self.spend(nbytes=len(part))
            elif isinstance(part, dict | list | tuple):
                self.spend(parts=len(part))

    def _by_content(self, record: Placeholder) -> Any:
        """Return subclasses of dictionaries and lists as plain ones; else the record."""
        if record.items:
            return OrderedDict(self.pairs(record.items))
        if record.elements:
            return [self(element) for element in record.elements]
        self._waiting.append(record)
        return record

    def _key(self, key: Any) -> Any:
        settled = self(key)
        try:
            cost = require_key(settled)
            # A key that became a list or an array is kept as its record, which can be hashed.
            hash(settled)
        except (PickleError, TypeError):
            return key
        self.spend(parts=cost)
        return settled

    def _settle_inside(self, record: Placeholder) -> None:
        """Settle what an object holds; leave out what holds itself or is nested too deeply."""
        try:
            record.arguments = self(record.arguments)
            record.keywords = self(record.keywords)
            record.state = self(record.state)
        except NestingError:
            record.arguments, record.keywords, record.state = (), {}, None
