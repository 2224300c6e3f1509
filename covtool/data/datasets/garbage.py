"""Reading of many rows and names without the collection of garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Leave cyclic garbage uncollected for a while; also as a decorator.

    Every few thousand new lists have Python look through what may be garbage, in the end through
    all objects of torch, which is a third of the time that a million rows take. Rows and names
    refer to no one in a circle: they are freed without it.
    """
    if not gc.isenabled():  # whoever has disabled it enables it again
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
