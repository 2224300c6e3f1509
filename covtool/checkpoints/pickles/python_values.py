"""Values of Python's own library, made from the arguments that their pickles hold."""

import argparse
import datetime
import decimal
import fractions
import re
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from covtool.checkpoints.pickles.keys import require_key
from covtool.checkpoints.pickles.records import LONGEST_NAME, Placeholder
from covtool.checkpoints.pickles.settle import Settle
from covtool.checkpoints.pickles.source import ByteString

_NUMBER = re.compile(r"[-+]?[0-9]{1,60}(/[0-9]{1,60}|(\.[0-9]{1,60})?(E[-+]?[0-9]{1,4})?)")
_UUID_BITS = 128
_LARGEST_PART = 10**60  # of a fraction
_LARGEST_INDEX = 1 << 62
_LATIN = ("latin1", "latin-1")
_PATHS = (
    *("Path", "PosixPath", "PurePath", "PurePosixPath"),
    *("PureWindowsPath", "WindowsPath"),
)
_UNFIT = (ArithmeticError, TypeError, ValueError)


def raw_bytes(value: Any, settle: Settle) -> bytes | None:
    """Return bytes, whichever protocol and Python wrote them; None where it is something else."""
    if isinstance(value, str | bytes | bytearray):
        settle.spend(nbytes=len(value))
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, ByteString):
        return value.raw
    return value.encode("ascii") if isinstance(value, str) and value.isascii() else None


def fields(record: Placeholder, settle: Settle) -> dict[str, Any]:
    """Return the attributes of an object whose attributes are its value."""
    found = {**record.keywords, **record.attributes}
    return {k: settle(v) for k, v in found.items() if _is_attribute(k)}


def _is_attribute(key: Any) -> bool:
    short = isinstance(key, str) and len(key) <= LONGEST_NAME
    return short and key.isidentifier() and not key.startswith("__")


def _constructed(make: Callable[..., Any], *kinds: type) -> Callable[..., Any]:
    """Make a row that calls a constructor which only stores its arguments, if of `kinds`."""

    def row(record: Placeholder, settle: Settle) -> Any:
        arguments = [settle(argument) for argument in record.arguments]
        if not all(isinstance(argument, kinds) for argument in arguments):
            return NotImplemented
        try:
            return make(*arguments)
        except _UNFIT:
            return NotImplemented

    return row


def _moment(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a row for dates and times, which are pickled as bytes and perhaps a time zone."""

    def row(record: Placeholder, settle: Settle) -> Any:
        first, *zone = [settle(argument) for argument in record.arguments] or [None]
        raw = raw_bytes(first, settle)
        zone = [z for z in zone if isinstance(z, datetime.tzinfo)]
        try:
            return NotImplemented if raw is None else make(raw, *zone)
        except _UNFIT:
            return NotImplemented

    return row


def _exact(make: Callable[[str], Any]) -> Callable[..., Any]:
    def row(record: Placeholder, settle: Settle) -> Any:
        text = record.arguments[0] if len(record.arguments) == 1 else None
        if not isinstance(text, str) or not _NUMBER.fullmatch(text):
            return NotImplemented
        try:
            return make(text)
        except (ArithmeticError, ValueError):
            return NotImplemented

    return row


def _fraction(record: Placeholder, settle: Settle) -> Any:
    """Rebuild a fraction, of its text or, as newer versions of Python pickle it, of two numbers."""
    if len(record.arguments) == 2:
        small = all(isinstance(n, int) and abs(n) < _LARGEST_PART for n in record.arguments)
        return _constructed(fractions.Fraction, int)(record, settle) if small else NotImplemented
    # An exponent of four digits is a small decimal, and a fraction of thousands of digits.
    return _exact(lambda text: NotImplemented if "E" in text else fractions.Fraction(text))(
        record, settle
    )


def _path(kind: type[PurePath]) -> Callable[..., Any]:
    def row(record: Placeholder, settle: Settle) -> Any:
        parts = settle(record.arguments)
        return kind(*parts) if all(isinstance(p, str) for p in parts) else NotImplemented

    return row


def _namespace(kind: type) -> Callable[..., Any]:
    def row(record: Placeholder, settle: Settle) -> Any:
        made = kind()
        vars(made).update(fields(record, settle))
        return made

    return row


def _items(record: Placeholder, settle: Settle) -> list[tuple[Any, Any]]:
    """Return what a dictionary was made with, and then filled with."""
    pairs = []
    for argument in record.arguments:
        if isinstance(argument, Mapping):
            pairs += settle.pairs(argument)
        elif isinstance(argument, list | tuple):
            pairs += [(settle(p[0]), settle(p[1])) for p in argument if _is_pair(p)]
    return pairs + settle.pairs(record.items or {})


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str | int)


def _ordered(record: Placeholder, settle: Settle) -> Any:
    return OrderedDict(_items(record, settle))


def _defaulting(record: Placeholder, settle: Settle) -> Any:
    # Without its factory, which would be a function of the file's choice.
    return defaultdict(None, settle.pairs(record.items or {}))


def _counter(record: Placeholder, settle: Settle) -> Any:
    counter = Counter()
    # As a dictionary: a counter's own `update` would add up, and values may be no numbers.
    dict.update(counter, _items(record, settle))
    return counter


def _deque(record: Placeholder, settle: Settle) -> Any:
    start, length, *_ = (*record.arguments, (), None)[:2]
    # `deque` raises for a negative bound, and for one that its counter cannot hold.
    bounded = isinstance(length, int) and 0 <= length < (1 << 31)
    start = start if isinstance(start, list | tuple) else ()
    parts = [settle(part) for part in (*start, *(record.elements or ()))]
    return deque(parts, length if bounded else None)


def _set(kind: type) -> Callable[..., Any]:
    def row(record: Placeholder, settle: Settle) -> Any:
        given = record.arguments[0] if record.arguments else ()
        if not isinstance(given, list | tuple):
            return NotImplemented
        parts = [*given, *(record.elements or ())]
        settle.spend(parts=sum(map(require_key, parts)))
        return kind(key for key, _ in settle.pairs(dict.fromkeys(parts)))

    return row


def _bytes(kind: type) -> Callable[..., Any]:
    def row(record: Placeholder, settle: Settle) -> Any:
        if not record.arguments:
            return kind()
        text, *encoding = (settle(argument) for argument in record.arguments)
        if isinstance(text, str) and encoding and encoding[0] in _LATIN:
            settle.spend(nbytes=len(text))
            raw = _latin(text)
        else:
            raw = raw_bytes(text, settle)
        return NotImplemented if raw is None else kind(raw)

    return row


def _latin(text: str) -> bytes | None:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return None


def _range(record: Placeholder, settle: Settle) -> Any:
    """Return numbers that an index can count; the length of others raises."""
    small = all(isinstance(n, int) and abs(n) < _LARGEST_INDEX for n in record.arguments)
    return _constructed(range, int)(record, settle) if small else NotImplemented


def _uuid(record: Placeholder, settle: Settle) -> Any:
    number = record.attributes.get("int")
    fits = isinstance(number, int) and 0 <= number < (1 << _UUID_BITS)
    return uuid.UUID(int=number) if fits else NotImplemented


_WHOLE = (int, type(None))

PYTHON_VALUES: dict[str, Callable[[Placeholder, Settle], Any]] = {
    "argparse.Namespace": _namespace(argparse.Namespace),
    "types.SimpleNamespace": _namespace(types.SimpleNamespace),
    "collections.OrderedDict": _ordered,
    "functools.OrderedDict": _ordered,
    "collections.defaultdict": _defaulting,
    "collections.Counter": _counter,
    "collections.deque": _deque,
    "builtins.set": _set(set),
    "builtins.frozenset": _set(frozenset),
    "builtins.complex": _constructed(complex, float, int),
    "builtins.slice": _constructed(slice, *_WHOLE),
    "builtins.range": _range,
    "builtins.bytearray": _bytes(bytearray),
    "builtins.bytes": _bytes(bytes),
    "_codecs.encode": _bytes(bytes),
    "datetime.date": _moment(datetime.date),
    "datetime.time": _moment(datetime.time),
    "datetime.datetime": _moment(datetime.datetime),
    "datetime.timedelta": _constructed(datetime.timedelta, int),
    "datetime.timezone": _constructed(datetime.timezone, datetime.timedelta, str),
    "decimal.Decimal": _exact(decimal.Decimal),
    "fractions.Fraction": _fraction,
    "uuid.UUID": _uuid,
    # Pure paths: another system's concrete ones cannot be made here, and none is needed.
    **{
        f"{module}.{name}": _path(PureWindowsPath if "Windows" in name else PurePosixPath)
        for module in ("pathlib", "pathlib._local")
        for name in _PATHS
    },
}
