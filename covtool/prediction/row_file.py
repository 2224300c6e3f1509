"""A file of rows that grows batch by batch: interrupted at any time, it holds whole rows.

Rows are appended to ``FILE.partial``, and after each batch a line to ``FILE.partial.journal``: how
many images are done and how many bytes that makes. FILE appears whole when all are done, and both
go. ``FILE.partial.lock`` keeps other processes away meanwhile. After a kill, what the journal does
not vouch for is cut off, and the work goes on there, at the beginning of a batch: all batches are
those of a run that was not interrupted.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from covtool.atomic import place_of, require_writable, saving, written_whole
from covtool.documents import parse_json
from covtool.errors import ArgumentError, DataError
from covtool.file_locks import locked_file
from covtool.prediction.image_inputs import ImageInput
from covtool.prediction.row_formats import row_format_of
from covtool.prediction.rows import Row
from covtool.printable import printable
from covtool.regular_files import opened

BLOCK = 1 << 20
LONGEST_LINE = 1 << 20
"""Bytes of a line of a journal."""

Settings = Mapping[str, Any]
"""What decides the rows, by its name for the user."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partial file is, at the end of a batch.

    Attributes:
        images: Images that are done.
        size: Bytes of the partial file.
        failed: Images of these that cannot be read.
        names: Digest of the names of these images.
        content: Digest of these bytes.
    """

    images: int = 0
    size: int = 0
    failed: int = 0
    names: str = ""
    content: str = ""


def partial_of(path: Path) -> Path:
    """Return the file that rows are appended to."""
    place = place_of(path)
    return place.with_name(f"{place.name}.partial")


def journal_of(path: Path) -> Path:
    """Return the file that says how far the partial file is."""
    place = place_of(path)
    return place.with_name(f"{place.name}.partial.journal")


def check_row_output(path: Path, *, overwrite: bool, resume: bool) -> None:
    """Refuse an output that cannot be written, before anything is computed.

    Raises:
        ArgumentError: The suffix stands for no format, the folder does not exist, or a partial file
            is there that is neither resumed nor to be overwritten; or there is none to resume.
        OutputExistsError: There is such a file, and `overwrite` is False.
    """
    row_format_of(path)
    require_writable(path, overwrite=overwrite)
    partial, journal = partial_of(path), journal_of(path)
    there = journal.exists() and partial.exists()
    for file in (partial, journal):
        if not (there or overwrite) and os.path.lexists(file):
            raise ArgumentError(
                f"{file} is in the way: it is no part of predictions that were interrupted.",
                hint="Remove it, or replace it with --overwrite.",
            )
        require_writable(file, overwrite=True)  # a pipe in its place would be waited for
    if resume and not there:
        raise ArgumentError(
            f"There is nothing to resume: {partial} is not there.",
            hint="Leave out --resume.",
        )
    if there and not (resume or overwrite):
        raise ArgumentError(
            f"{partial} is there: predictions that were interrupted.",
            hint="Go on with --resume, or begin anew with --overwrite.",
        )


class Names:
    """Running digest of the names of images."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, images: Iterable[ImageInput]) -> None:
        for image in images:
            name = image.name.encode("utf-8", "surrogateescape")
            # With its length: "a" and "bc" are not "ab" and "c".
            self._digest.update(len(name).to_bytes(8, "little") + name)

    def __str__(self) -> str:
        return self._digest.hexdigest()


class RowFile:
    """Writes rows batch by batch; a context manager.

    Args:
        path: The output; see `check_row_output`.
        columns: Names of the columns.
        settings: Settings that decide the rows: a resumed file must have the same.
        resume: Whether to go on with a partial file.
        overwrite: Whether an existing output may be replaced.

    Attributes:
        progress: Images and bytes that are done.
        changed_at: Time at which the journal was last written to before, in nanoseconds.

    Raises:
        ArgumentError: The partial file was begun with other settings, or another process writes it.
        DataError: It, or its journal, is damaged.
        SaveError: The disk is full, say.
    """

    def __init__(
        self,
        path: Path,
        columns: tuple[str, ...],
        settings: Settings,
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.path, self.columns, self._overwrite = path, columns, overwrite
        self._format = row_format_of(path)
        self._partial, self._journal = partial_of(path), journal_of(path)
        self._content = hashlib.sha256()
        with ExitStack() as opening:
            self._lock(opening)
            with saving(self._partial):
                # Without a buffer: what is written is in the file, also after a kill.
                self._lines: BinaryIO = opening.enter_context(self._journal.open("ab", buffering=0))
            self.changed_at = os.fstat(self._lines.fileno()).st_mtime_ns
            self.progress = self._resumed(settings) if resume else self._begun(settings)
            with saving(self._partial):
                self._rows: BinaryIO = opening.enter_context(self._partial.open("ab", buffering=0))
            self._opened = opening.pop_all()

    def __enter__(self) -> Self:
        return self

    def append(self, rows: Iterable[Row], *, images: int, failed: int, names: Names) -> None:
        """Add a batch.

        Args:
            rows: Its rows.
            images: Number of its images, those without a row included.
            failed: Number of images that cannot be read.
            names: Digest of the names of all images so far.
        """
        # One write for a batch, and the journal after it: a kill between the two costs a batch.
        content = b"".join(map(self._format.encode, rows))
        done = self.progress
        self._content.update(content)
        now = Progress(
            images=done.images + images,
            size=done.size + len(content),
            failed=done.failed + failed,
            names=str(names),
            content=self._content.copy().hexdigest(),
        )
        with saving(self._partial):
            _write_all(self._rows, content)
            _write_all(self._lines, _line(asdict(now)))
        self.progress = now

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._opened:  # the lock is let go of last
            self._rows.close()
            self._lines.close()  # Windows removes no file that is open
            if kind is None:
                self._require_own()
                with written_whole(self.path, overwrite=self._overwrite) as temporary:
                    self._format.finish(self._partial, temporary, self.columns)
            if kind is None or not self.progress.images:  # what holds nothing is no use
                self.remove()
                return
            with suppress(DataError, OSError):  # the error of the block says more
                _, done = _journal_in(self._journal)
                os.truncate(self._partial, done.size)

    def _lock(self, held: ExitStack) -> None:
        """Keep other processes from the files."""
        lock = self._partial.with_name(f"{self._partial.name}.lock")
        with saving(self._partial):
            is_held = held.enter_context(locked_file(lock, remove=True))
        if is_held is False:
            raise ArgumentError(
                f"{self._partial} is being written by another process.",
                hint="Wait for it, end it, or name another file with -o.",
            )

    def _require_own(self) -> None:
        """Refuse a partial file that another process has written to."""
        if self._partial.stat().st_size != self.progress.size:
            raise DataError(
                f"{self._partial} was written to by another process.",
                hint="Begin anew with --overwrite, once the other has ended.",
            )

    def remove(self) -> None:
        """Remove the partial file."""
        for file in (self._journal, self._partial):
            with suppress(FileNotFoundError):
                file.unlink()

    def _begun(self, settings: Settings) -> Progress:
        head = self._format.head(self.columns)
        self._content.update(head)
        with saving(self._partial):
            self._partial.write_bytes(head)
            os.truncate(self._journal, 0)  # not a new file: this one is open
            _write_all(self._lines, _line(dict(settings)))
        return Progress(size=len(head), content=self._content.copy().hexdigest())

    def _resumed(self, settings: Settings) -> Progress:
        before, done = _journal_in(self._journal)
        _require_same(self._partial, before, json.loads(_line(dict(settings))))
        head = len(self._format.head(self.columns))
        with opened(self._partial) as file:
            left = max(done.size, head)
            while block := file.read(min(BLOCK, left)):
                self._content.update(block)
                left -= len(block)
        if left or (done.images and self._content.hexdigest() != done.content):
            raise DataError(
                f"{self._partial} is not as it was written.",
                hint="Begin anew with --overwrite.",
            )
        with saving(self._partial):
            os.truncate(self._partial, max(done.size, head))
            _cut(self._journal)
        return done if done.images else Progress(size=head)


def _line(value: object) -> bytes:
    return json.dumps(value, default=str).encode() + b"\n"


def _journal_in(file: Path) -> tuple[dict[str, Any], Progress]:
    """Return the settings in a journal, and the last whole line on the progress."""
    try:
        with opened(file) as stream:
            first = stream.readline(LONGEST_LINE)
            last = b""
            while line := stream.readline(LONGEST_LINE):
                last = line if line.endswith(b"\n") else last
        settings = parse_json(first.decode())
        progress = Progress(**parse_json(last.decode())) if last else Progress()
    except (OSError, ValueError, TypeError) as problem:
        raise DataError(
            f"The journal {file} cannot be read.", hint="Begin anew with --overwrite."
        ) from problem
    if not isinstance(settings, dict):
        raise DataError(f"The journal {file} is damaged.", hint="Begin anew with --overwrite.")
    return settings, progress


def _cut(file: Path) -> None:
    """Cut a line off that was not written to its end."""
    content = file.read_bytes()
    if not content.endswith(b"\n"):
        os.truncate(file, content.rfind(b"\n") + 1)


def _require_same(partial: Path, before: Settings, now: Settings) -> None:
    for name in {**before, **now}:
        then, this = before.get(name), now.get(name)
        if then != this:
            raise ArgumentError(
                f"{partial} was begun with another {name}.",
                reason=f"It was {printable(str(then))}; now it is {printable(str(this))}.",
                hint="Give the same, or begin anew with --overwrite.",
            )


def _write_all(file: BinaryIO, content: bytes) -> None:
    """Write bytes; the system may take a part at a time."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
