"""The C library's allocator, told to keep what is freed."""

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

# mallopt(3): parameters by number, as in malloc.h.
TRIM_THRESHOLD, MMAP_MAX = -1, -4
NEVER, DEFAULT_MAPPINGS = -1, 65_536

_keeping: list[bool] = []  # whether freed memory is kept: once it was told, and in each context


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Have the allocator keep freed memory for what is allocated next, rather than give it back.

    glibc takes each large block from the system, and gives it back when it is freed. The outputs of
    a network's layers are such blocks, and the system clears every page of them again for each
    batch: for a small network on a CPU that is a good part of the time (`benchmarks/allocator.py`
    measures it). The price is that a process stays as large as it ever was, and becomes somewhat
    larger: a few aligned blocks of one size lie there before the first is used again.

    Nothing is changed where the environment has settings of its own for the allocator, or where the
    C library is another one.

    Args:
        environment: Variables of the process.

    Returns:
        Whether the allocator was told, and understood.

    Source:
        mallopt(3), of the GNU C library.
    """
    if any(name.startswith("MALLOC_") for name in environment):
        return False
    if "glibc.malloc" in environment.get("GLIBC_TUNABLES", ""):
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  # another library's mallopt may mean another thing
        tell = library.mallopt
    except (AttributeError, OSError, TypeError):  # macOS and musl; Windows
        return False
    if not (tell(MMAP_MAX, 0) and tell(TRIM_THRESHOLD, NEVER)):
        return False
    _keeping[:] = [True]
    return True


@contextmanager
def giving_back() -> Iterator[None]:
    """Have large blocks taken from the system and given back when they are freed, for a while.

    For work whose memory is bounded: a block that fits nowhere among those which are kept makes
    the process larger. Nothing is changed unless `keep_freed_memory` has had them kept.
    """
    with _within(keeping=False):
        yield


@contextmanager
def keeping_again() -> Iterator[None]:
    """Have freed memory kept within `giving_back`, as outside of it."""
    with _within(keeping=True):
        yield


@contextmanager
def _within(*, keeping: bool) -> Iterator[None]:
    if not _keeping:
        yield
        return
    _keeping.append(keeping)
    _tell_mappings()
    try:
        yield
    finally:
        _keeping.pop()
        _tell_mappings()


def _tell_mappings() -> None:
    ctypes.CDLL(None).mallopt(MMAP_MAX, 0 if _keeping[-1] else DEFAULT_MAPPINGS)
