"""Files that are opened for reading: regular files and nothing else.

A FIFO would be waited for, a device be read for ever. Each function raises OSError and nothing
else, so that a caller makes one error of its own from all that can be wrong with a path.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

MEBIBYTE = 1 << 20

# Without O_NONBLOCK, opening a FIFO waits until something writes to it. Windows has neither that
# nor O_CLOEXEC, and changes ends of lines without O_BINARY.
_READING = os.O_RDONLY
for _name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):
    _READING |= getattr(os, _name, 0)

LONGEST_TEXT = 64 * MEBIBYTE
"""Bytes of a text file that is read whole, a list of images for example."""

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def opened(path: str | Path) -> BinaryIO:
    """Open a regular file for reading bytes.

    Raises:
        OSError: There is none, it may not be read, it is not a regular file, or this is not a path.
    """
    try:
        handle = os.open(path, _READING)
    except ValueError as problem:  # a NUL, or what the file system's encoding does not have
        raise OSError(errno.EINVAL, "No file can have this name", str(path)) from problem
    try:
        _require_regular(os.fstat(handle).st_mode, path)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def require_regular(path: str | Path) -> None:
    """Refuse what is not a regular file, for those who open a path themselves.

    Raises:
        OSError: As `opened`.
    """
    opened(path).close()


def kind_of(mode: int) -> str:
    """Return what something is that is not a regular file, in words: ``a pipe``.

    Args:
        mode: ``st_mode`` of `os.stat`.
    """
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "no regular file")


def is_regular(path: str | Path) -> bool:
    """Return whether a path leads to a regular file; one that nothing can have does not."""
    return os.path.isfile(path)  # noqa: PTH113 -- of a name that is too long, `Path` raises


def read_bytes(path: str | Path, *, at_most: int = LONGEST_TEXT) -> bytes:
    """Read the content of a regular file.

    Args:
        path: The file.
        at_most: The number of bytes from which on it is refused.

    Raises:
        OSError: As `opened`, or it is larger.
    """
    with opened(path) as file:
        # One byte more than allowed: a size from `os.stat` may be 0 (/proc) or change meanwhile.
        content = file.read(at_most + 1)
    if len(content) > at_most:
        raise OSError(
            errno.EFBIG, f"It is larger than {at_most / MEBIBYTE:.4g} MiB, the most that is read"
        )
    return content


def read_text(path: str | Path, *, encoding: str = "utf-8", at_most: int = LONGEST_TEXT) -> str:
    r"""Read the text in a regular file, with ``\n`` at the end of each line.

    Args:
        path: The file.
        encoding: Encoding of the text; ``utf-8-sig`` also takes a byte order mark.
        at_most: The number of bytes from which on it is refused.

    Raises:
        OSError: As `read_bytes`, or the bytes are not text in that encoding.
    """
    content = read_bytes(path, at_most=at_most)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as problem:
        raise OSError(
            errno.EILSEQ,
            f"It is not {encoding.upper()} text: {problem.reason} at byte {problem.start:,}",
            str(path),
        ) from problem
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _require_regular(mode: int, path: str | Path) -> None:
    if not stat.S_ISREG(mode):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, f"It is {kind_of(mode)}, not a file", str(path))
