"""From inert records to values: the few that are rebuilt, each by a function of covtool's own."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from covtool.checkpoints.pickles.configs import CONFIGS
from covtool.checkpoints.pickles.keys import require_key
from covtool.checkpoints.pickles.numbers import NUMBERS
from covtool.checkpoints.pickles.python_values import PYTHON_VALUES
from covtool.checkpoints.pickles.records import GlobalName, PickleError, Placeholder
from covtool.checkpoints.pickles.tensors import DTYPES, TENSORS, Storages

MOST_LEVELS = 64  # of containers inside one another

# What a class's or a function's record becomes. `settle` is for what is inside of it.
Row = Callable[[Placeholder, "Settling"], Any]
REBUILT: Mapping[str, Row] = {**PYTHON_VALUES, **NUMBERS, **CONFIGS, **TENSORS}

_BUSY = object()


class Settling:
    """One file's records on their way to values; what is shared is rebuilt once.

    Args:
        storages: The bytes of the file's tensors.
    """

    def __init__(self, storages: Storages) -> None:
        self.storages = storages
        self._level = 0
        self._settled: dict[int, tuple[Any, Any]] = {}
        self._waiting: list[Placeholder] = []

    def whole(self, value: Any) -> Any:
        """A file's value, and what is inside of the objects that stay placeholders.

        Raises:
            PickleError: Containers hold themselves, or are nested too deeply, or a tensor claims
                more than the file holds.
        """
        settled = self(value)
        while self._waiting:
            self._settle_inside(self._waiting.pop())
        return settled

    def __call__(self, value: Any) -> Any:
        """What a record or a container becomes."""
        if isinstance(value, GlobalName):
            return DTYPES.get(value.full, value)
        if not isinstance(value, dict | list | tuple | Placeholder):
            return value
        _, known = self._settled.get(id(value), (None, None))
        if known is _BUSY:
            raise PickleError("Something in it holds itself.")
        if known is not None:
            return known
        if self._level == MOST_LEVELS:
            raise PickleError(f"It has more than {MOST_LEVELS} levels of containers.")
        self._settled[id(value)] = value, _BUSY
        self._level += 1
        try:
            made = self._made(value)
        finally:
            self._level -= 1
        self._settled[id(value)] = value, made
        return made

    def pairs(self, items: Mapping) -> list[tuple[Any, Any]]:
        """The items of a mapping, each settled."""
        return [(self._key(key), self(value)) for key, value in items.items()]

    def _made(self, value: Any) -> Any:
        if isinstance(value, dict):
            return dict(self.pairs(value))
        if isinstance(value, list | tuple):
            parts = [self(part) for part in value]
            return tuple(parts) if isinstance(value, tuple) else parts
        row = REBUILT.get(value.name)
        made = NotImplemented if row is None else row(value, self)
        if made is NotImplemented:
            made = self._by_content(value)
        return made

    def _by_content(self, record: Placeholder) -> Any:
        """Subclasses of dictionaries and lists as such, whoever wrote them; else the record."""
        if record.items:
            return OrderedDict(self.pairs(record.items))
        if record.elements:
            return [self(element) for element in record.elements]
        self._waiting.append(record)
        return record

    def _key(self, key: Any) -> Any:
        settled = self(key)
        try:
            require_key(settled)
            hash(settled)
        except (PickleError, TypeError):
            return key
        return settled

    def _settle_inside(self, record: Placeholder) -> None:
        """Objects may hold what they like, themselves as well; what is unreadable is left out."""
        try:
            record.arguments = self(record.arguments)
            record.keywords = self(record.keywords)
            record.state = self(record.state)
        except PickleError:
            record.arguments, record.keywords, record.state = (), {}, None
