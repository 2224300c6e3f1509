"""Progress of long-running library functions, reported without printing."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Track = Callable[[Iterable[Any], str, int | None], Iterator[Any]]
"""``track(iterable, description, total)`` yields the items of `iterable` and shows the progress."""


def silent(iterable: Iterable[Any], description: str, total: int | None) -> Iterator[Any]:
    """Yield the items and show nothing: the `Track` of a caller without a terminal."""
    yield from iterable
