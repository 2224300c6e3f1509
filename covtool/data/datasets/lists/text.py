"""Text of lists: encoding, bounds and lines; every error names the file."""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from covtool.errors import DataError, reason_of
from covtool.regular_files import MEBIBYTE, opened, read_bytes

LONGEST_LIST = 1024 * MEBIBYTE
"""Bytes of a list of images that is read whole."""

LONGEST_LINE = 4 * MEBIBYTE
"""Characters of a line."""

_MARKS = (  # those of UTF-32 begin like those of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONGEST_MARK = 4
_SAVE_AGAIN = "Save it as UTF-8."


def encoding_of(file: Path) -> str:
    """Return the encoding of a file by its byte order mark; UTF-8 without one.

    Raises:
        OSError: It cannot be read.
    """
    with opened(file) as stream:
        begins = stream.read(_LONGEST_MARK)
    return next((name for mark, name in _MARKS if begins.startswith(mark)), "utf-8")


def note_on_encoding(file: Path) -> Iterator[str]:
    """Yield a note on the encoding of a list, if it is not UTF-8.

    Raises:
        OSError: It cannot be read.
    """
    name = encoding_of(file)
    if not name.startswith("utf-8"):
        yield f"{file.name} is read as {name.upper()}, as the mark at its beginning says."


def text_of(file: Path) -> str:
    """Return the text of a list, with one kind of end of a line.

    Raises:
        DataError: It cannot be read, is not text, or is longer than `LONGEST_LIST`.
    """
    with translate_list_errors(file):
        text = read_bytes(file, at_most=LONGEST_LIST).decode(encoding_of(file))
        if "\0" in text:
            raise _nul(text.count("\n", 0, text.index("\0")) + 1)
        return text.replace("\r\n", "\n").replace("\r", "\n")


def lines_of(file: Path) -> list[str]:
    """Return the lines of a text file that are not empty, without the spaces around them.

    Raises:
        DataError: As `text_of`.
    """
    return [line.strip() for line in text_of(file).splitlines() if line.strip()]


@contextmanager
def opened_text(file: Path, *, errors: str = "strict") -> Iterator[TextIO]:
    """Open a list to be read line by line, with the ends of its lines as they are.

    Args:
        file: The list.
        errors: Python's name of the treatment of bytes that are no text.

    Raises:
        OSError: It cannot be read.
        UnicodeError: It is not text; raised where it is read.
    """
    # newline="": the csv module splits lines itself, as a quoted cell may hold the end of one.
    encoding = encoding_of(file)
    with opened(file) as stream, io.TextIOWrapper(stream, encoding, errors, newline="") as text:
        yield text


def checked_lines(text: TextIO, *, longest: int = LONGEST_LINE) -> Iterator[str]:
    """Yield the lines of a list that is open, with their ends.

    Args:
        text: The list.
        longest: Characters that a line may have.

    Raises:
        ValueError: A line has a NUL, or is longer.
        UnicodeError: It is not text.
    """
    number = 0
    while line := text.readline(longest + 1):
        number += 1
        if len(line) > longest:
            raise ValueError(f"line {number:,} has more than {longest:,} characters")
        if "\0" in line:  # in UTF-16 without a mark, every other byte is one
            raise _nul(number)
        yield line


@contextmanager
def translate_list_errors(file: Path) -> Iterator[None]:
    """Raise one error that names the file for whatever is wrong with a list.

    Raises:
        DataError: In place of OSError and ValueError, to which errors of encodings belong.
    """
    try:
        yield
    except DataError:  # a ValueError as well
        raise
    except UnicodeDecodeError as problem:
        raise _no_text(file, problem) from problem
    except OSError as problem:
        raise DataError(f"{file} cannot be read.", reason=reason_of(problem)) from problem
    except ValueError as problem:
        reason = reason_of(problem)
        raise DataError(
            f"{file} cannot be read.", reason=f"{reason[:1].upper()}{reason[1:]}"
        ) from problem


def _nul(line: int) -> ValueError:
    return ValueError(
        f"line {line:,} has a NUL: the file is damaged, or in UTF-16 without a mark of it; save it "
        "as UTF-8"
    )


def _no_text(file: Path, problem: UnicodeDecodeError) -> DataError:
    """Build the error about a file that cannot be decoded."""
    name, wrong = problem.encoding.upper(), problem.object[problem.start]
    if not name.startswith("UTF-8"):
        return DataError(
            f"{file} is not text in {name}, though it begins like it.",
            reason=f"{problem.reason}, at byte {problem.start:,}.",
            hint=_SAVE_AGAIN,
        )
    return DataError(
        f"{file} is not text in UTF-8.",
        reason=f"It has the byte 0x{wrong:02x}, as text in Latin-1 (Windows-1252) or another old "
        "encoding has.",
        hint=_SAVE_AGAIN,
    )
