"""Progress of long-running library functions, reported without printing."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

Track = Callable[[Iterable[Any], str, int | None], Iterator[Any]]
"""``track(iterable, description, total)`` yields the items of `iterable` and shows the progress."""


def silent(iterable: Iterable[Any], description: str, total: int | None) -> Iterator[Any]:
    """Yield the items and show nothing: the `Track` of a caller without a terminal."""
    yield from iterable


def main_only(track: Track, *, is_main: bool) -> Track:
    """Return the `Track` of one of several processes: only the main one shows the progress."""
    return track if is_main else silent
