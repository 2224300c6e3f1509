"""Shortages of a machine: the errors of Python, torch and the system, and what helps."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

SHARED_MEMORY = "/dev/shm"

MEMORY_SIGNS = re.compile(
    r"can't allocate memory|[Cc]annot allocate memory|not enough memory|out of memory"
    r"|CU(DNN|BLAS)_STATUS_ALLOC_FAILED"
)
"""Messages of devices without an error class of their own, and of CUDA's libraries."""

LITTLE_SHARED = 1 << 20
"""Bytes of shared memory: where less is free, the semaphores of processes do not fit."""


@dataclass(frozen=True, slots=True)
class Shortage:
    """A row of the table of shortages.

    Attributes:
        message: Sentence that names the shortage.
        hint: Remedy.
        signs: Pattern of the messages that report it.
        numbers: Error numbers (errno) that report it.
    """

    message: str
    hint: str
    signs: re.Pattern[str]
    numbers: frozenset[int] = frozenset()

    def explains(self, problem: BaseException) -> bool:
        """Return whether an error comes from this shortage."""
        if isinstance(problem, OSError) and problem.errno in self.numbers:
            return True
        reports = isinstance(problem, OSError | RuntimeError | ImportError)
        return reports and bool(self.signs.search(str(problem)))


OPEN_FILES = Shortage(
    "This process may not open as many files as it needs.",
    "Allow more, as with: ulimit -n 4096. Or load images with fewer processes: --workers 0.",
    re.compile("Too many open files|received 0 items of ancdata"),
    frozenset({errno.EMFILE, errno.ENFILE}),
)
SHARED = Shortage(
    f"There is too little shared memory ({SHARED_MEMORY}) for processes that load images.",
    "Give the container more, as with docker run --shm-size 8g; or load images in this process: "
    "--workers 0.",
    re.compile(r"shared memory|</torch_"),
)
PROCESSES = Shortage(
    "The system starts no more processes or threads for this user.",
    "Allow more, as with: ulimit -u 4096. Or use fewer: --workers 0, OMP_NUM_THREADS=1.",
    re.compile("can't start new thread|Resource temporarily unavailable"),
    frozenset({errno.EAGAIN}),
)
LIBRARIES = Shortage(
    "There is not enough memory to load torch.",
    "Allow more, as with: ulimit -v unlimited; or free some.",
    re.compile("failed to map segment from shared object|in static TLS block"),
)
DISK = Shortage(
    "There is no room left on the disk.",
    "Make room, or write to another place.",
    re.compile("No space left on device|Disk quota exceeded"),
    frozenset({errno.ENOSPC, errno.EDQUOT}),
)
MEMORY = Shortage(
    "There is not enough memory.",
    "Use a smaller --batch-size, smaller images, a smaller model, or fewer features (--dim).",
    MEMORY_SIGNS,
    frozenset({errno.ENOMEM}),
)

SHORTAGES = (OPEN_FILES, SHARED, PROCESSES, LIBRARIES, DISK, MEMORY)
"""In the order in which they are looked for: a full shared memory also has no space left."""


def shortage_behind(problem: BaseException) -> Shortage | None:
    """Return the shortage that an error, or one that led to it, comes from; None for others."""
    for cause in _causes(problem):
        if isinstance(cause, MemoryError):
            return MEMORY
        if _is_of_semaphores(cause):
            return SHARED
        found = next((shortage for shortage in SHORTAGES if shortage.explains(cause)), None)
        if found is not None:
            return found
    return None


def shortage_of(number: int) -> Shortage | None:
    """Return the shortage behind an errno of a process that loads images; None for others."""
    if number in DISK.numbers:  # the only thing it writes to is shared memory
        return SHARED
    return next((shortage for shortage in SHORTAGES if number in shortage.numbers), None)


def _causes(problem: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()  # a cause may lead back to its own effect
    while problem is not None and id(problem) not in seen:
        seen.add(id(problem))
        yield problem
        problem = problem.__cause__ or problem.__context__


def _is_of_semaphores(problem: BaseException) -> bool:
    """Return whether semaphores found no room in shared memory; such errors name no file."""
    if not isinstance(problem, OSError) or problem.filename is not None:
        return False
    if not os.access(SHARED_MEMORY, os.W_OK):
        return problem.errno in (errno.ENOENT, errno.EACCES, errno.EROFS, errno.ENOSYS)
    return problem.errno == errno.ENOSPC and shutil.disk_usage(SHARED_MEMORY).free < LITTLE_SHARED
