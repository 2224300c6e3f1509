"""The largest model that is built: one limit, for everything that opens or builds a model.

The structure of a model comes from a recipe, a configuration or a name, which may ask for anything.
It is counted before memory is taken; see `covtool.backbones.model_size`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from covtool.free_memory import free_memory

_asked_for: ContextVar[int | None] = ContextVar("max_model_size", default=None)


def largest_model() -> int | None:
    """Return the bytes that a model and its activations for one image may take.

    The limit of `models_up_to`, else what the machine has free; None where that is not known.
    """
    asked = _asked_for.get()
    return free_memory() if asked is None else asked


def is_limit_set() -> bool:
    """Return whether `models_up_to` says the limit."""
    return _asked_for.get() is not None


@contextmanager
def models_up_to(num_bytes: int | None) -> Iterator[None]:
    """Build no model that is larger, within the ``with`` statement.

    Args:
        num_bytes: For a model's tensors and its activations for one image; None for what the
            machine has free.

    Example:
        >>> with models_up_to(4_000_000_000):
        ...     largest_model()
        4000000000
    """
    token = _asked_for.set(num_bytes)
    try:
        yield
    finally:
        _asked_for.reset(token)
