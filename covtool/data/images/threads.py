"""A function over many items in threads: decoding an image releases Python's lock."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

AT_MOST = 8
IN_FLIGHT = 1024  # items handed to the threads at a time

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int | None = None
) -> Iterator[Result]:
    """Yield the results of a function for each item, in order.

    Args:
        function: Function that several threads call.
        items: Any number of items; few results wait at a time.
        workers: Threads; by default one per core, at most 8.
    """
    with ThreadPoolExecutor(workers or min(AT_MOST, os.cpu_count() or 1)) as pool:
        for at in range(0, len(items), IN_FLIGHT):
            # `map` takes all items at once: of a million decoded images, most would wait in memory.
            yield from pool.map(function, items[at : at + IN_FLIGHT])
