"""The C library's allocator, told to keep what is freed."""

import ctypes
import os
from collections.abc import Mapping

# mallopt(3): parameters by number, as in malloc.h.
TRIM_THRESHOLD, MMAP_MAX = -1, -4
NEVER = -1


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
    return bool(tell(MMAP_MAX, 0)) and bool(tell(TRIM_THRESHOLD, NEVER))
