"""Images that the arguments of a command name, one after the other and never all in memory."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from covtool.data.datasets.error_translation import translate_path_errors
from covtool.data.datasets.folder_walk import FolderWalk
from covtool.data.datasets.folders.left_out import notes_on_left_out
from covtool.data.datasets.folders.names import is_left_over
from covtool.data.datasets.lists.column_names import PATH, candidates
from covtool.data.datasets.lists.csv_file import cell_of, opened_table
from covtool.data.datasets.lists.labeled import is_table
from covtool.data.datasets.lists.text import checked_lines, opened_text, translate_list_errors
from covtool.data.datasets.places import (
    STDIN,
    is_pattern,
    no_images_at,
    no_images_in,
    record_source,
)
from covtool.data.datasets.records.records import RecordPath, Records
from covtool.data.datasets.records.sources import image_records
from covtool.data.images.decoding import image_size, is_image
from covtool.errors import ArgumentError, DataError
from covtool.full_paths import in_full
from covtool.prediction.path_patterns import matched
from covtool.printable import printable
from covtool.regular_files import is_regular

Place = str | tuple[int, int] | Image.Image
"""A path; or the number of the records and the image in them; or a picture itself."""


class ImageInput(NamedTuple):
    """An image to be looked at.

    Attributes:
        name: Its path as the user named it, or its name in its records.
        place: Its path, or its place in records, or the picture.
    """

    name: str
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The images of one argument.

    Attributes:
        images: Function that begins with the first one.
        count: Number of them; None where it is not known before the end.
        notes: Notes on what was left out.
    """

    images: Callable[[], Iterator[ImageInput]]
    count: int | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInputs:
    """The images of all arguments, in order.

    Attributes:
        parts: Those of each argument.
        records: Records that some of the images are in.
    """

    parts: tuple[Part, ...]
    records: tuple[Records, ...] = ()

    def __iter__(self) -> Iterator[ImageInput]:
        return chain.from_iterable(part.images() for part in self.parts)

    @property
    def count(self) -> int | None:
        """Number of images; None where it is not known before the end."""
        counts = [part.count for part in self.parts]
        return None if None in counts else sum(counts)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on what was left out."""
        return tuple(dict.fromkeys(chain.from_iterable(part.notes for part in self.parts)))

    @property
    def from_stdin(self) -> bool:
        """Whether paths come from the standard input, which can be read once."""
        return self.count is None


def find_inputs(arguments: Sequence[object]) -> ImageInputs:
    """Find the images that arguments stand for; nothing of them is read yet.

    Args:
        arguments: Images, folders of any depth, text files with a path per line, CSV files with a
            column ``path``, patterns like ``photos/**/*.jpg``, ``-`` for paths on the standard
            input, ``wds/FOLDER``; or pictures of Pillow.

    Raises:
        DataError: One of them stands for no image.
        ArgumentError: There are none, or the standard input is to be read twice.
    """
    if not arguments:
        raise ArgumentError("There are no images.", hint="Name files, folders, or lists of them.")
    if sum(argument == STDIN for argument in arguments if isinstance(argument, str)) > 1:
        raise ArgumentError("The standard input can be read once, and - is given twice.")
    records: list[Records] = []
    parts = [_part(argument, number, records) for number, argument in enumerate(arguments)]
    return ImageInputs(parts=tuple(parts), records=tuple(records))


def place_in(place: Place, records: Sequence[Records]) -> Path | RecordPath | Image.Image:
    """Return what is read of an image."""
    if isinstance(place, str):
        return Path(place)
    if isinstance(place, tuple):
        number, index = place
        return records[number][index].path
    return place


def _part(argument: object, number: int, records: list[Records]) -> Part:
    if isinstance(argument, Image.Image):
        name = getattr(argument, "filename", "") or f"[{number}]"
        return _single(str(name), argument)
    text = str(argument)
    with translate_path_errors(text):
        return _named(text, records)


def _named(text: str, records: list[Records]) -> Part:
    if text == STDIN:
        return Part(images=_of_stdin, count=None)
    if source := record_source(text):
        return _of_records(image_records(source), records, text)
    path = Path(text)
    if path.is_dir():
        return _of_folder(text)
    if path.exists():
        return _of_file(path, text)
    if is_pattern(text):
        return _counted(
            lambda: (ImageInput(name, name) for name in matched(text) if is_image(Path(name))),
            DataError(
                f"The pattern {text} matches no image.",
                hint="It is relative to the working folder; ** stands for folders at any depth.",
            ),
        )
    raise no_images_at(text)


def _single(name: str, place: Place) -> Part:
    return Part(images=lambda: iter([ImageInput(name, place)]), count=1)


def _counted(
    images: Callable[[], Iterator[ImageInput]], nothing: DataError, notes: Iterable[str] = ()
) -> Part:
    """Return a part whose images are counted, but not kept."""
    count = sum(1 for _ in images())
    if not count:
        raise nothing
    return Part(images=images, count=count, notes=tuple(notes))


def _of_folder(text: str) -> Part:
    def images() -> Iterator[ImageInput]:
        for folder, names in FolderWalk(Path(text), is_left_over):
            paths = (str(folder / name) for name in names if is_image(Path(name)))
            yield from (ImageInput(path, path) for path in paths)

    nothing = DataError(f"There are no images in {printable(text)}.")
    return _counted(images, nothing, notes_on_left_out(Path(text)))


def _of_records(found: Records, records: list[Records], text: str) -> Part:
    if not len(found):
        raise DataError(f"There are no images in {text}.")
    # By number: the records themselves would travel to a worker with each image.
    number = len(records)
    records.append(found)

    def images() -> Iterator[ImageInput]:
        for index, sample in enumerate(found):
            yield ImageInput(str(sample.path), (number, index))

    return Part(images=images, count=len(found))


def _of_file(path: Path, text: str) -> Part:
    if is_image(path):
        return _single(text, text)
    if is_table(path):
        return _of_list(path, lambda: _cells(path))
    if path.suffix.lower() in (".txt", ".lst", ".list"):
        return _of_list(path, lambda: _lines(path))
    if _opens(path):  # as of a download, whose name has no suffix
        return _single(text, text)
    raise no_images_in(text)


def _opens(path: Path) -> bool:
    try:
        image_size(path)
    except DataError:
        return False
    return True


def _of_list(file: Path, lines: Callable[[], Iterator[str]]) -> Part:
    def images() -> Iterator[ImageInput]:
        return (ImageInput(line, str(file.parent / line)) for line in lines())

    part = _counted(images, DataError(f"{file} lists no images."))
    # All wrong is a mistake in the list; some wrong are rows with a reason.
    if not any(is_regular(image.place) for image in images()):
        first = next(lines())
        reason = f"The first: {printable(first)}."
        if "://" in first:
            raise DataError(
                f"{file} lists addresses.",
                reason=f"{reason} covtool downloads nothing.",
                hint="Download the images, and list the files.",
            )
        raise DataError(
            f"None of the {part.count:,} images that {file} lists is there.",
            reason=reason,
            hint=f"Paths in the file are relative to the folder {in_full(file.parent)}.",
        )
    return part


def _lines(file: Path) -> Iterator[str]:
    with translate_list_errors(file), opened_text(file) as text:
        yield from filter(None, (line.strip() for line in checked_lines(text)))


def _cells(file: Path) -> Iterator[str]:
    with opened_table(file) as (names, rows):
        columns = candidates(PATH, names)
        if len(columns) != 1:
            which = " or ".join(columns) or "none of its columns"
            raise DataError(
                f"{file} does not say which column names the images: {which}.",
                hint="Call it path.",
            )
        for number, row in rows:
            yield cell_of(f"{file}, line {number}", row, columns[0])


def _of_stdin() -> Iterator[ImageInput]:
    with translate_list_errors(Path("standard input")):
        for line in checked_lines(sys.stdin):
            if path := line.rstrip("\r\n"):
                yield ImageInput(path, path)
