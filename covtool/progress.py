"""How long-running library functions report how far they are, without printing."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Track = Callable[[Iterable[Any], str, int | None], Iterator[Any]]
"""``track(iterable, description, total)`` yields the items of `iterable` and shows the progress."""


def silent(iterable: Iterable[Any], description: str, total: int | None) -> Iterator[Any]:
    """Yield the `Track` of somebody who does not want to see anything."""
    yield from iterable
