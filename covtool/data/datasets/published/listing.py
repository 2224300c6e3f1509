"""Lists of published data sets in text, MATLAB and JSON; every error names the file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from covtool.data.datasets.found_images import Labeled
from covtool.data.datasets.lists.labeled import require_files
from covtool.data.datasets.lists.text import lines_of, text_of, translate_list_errors
from covtool.data.datasets.published.matlab import LONGEST_MAT, variables_of
from covtool.data.images.boxed import BoxedImage
from covtool.documents import parse_json
from covtool.errors import DataError, reason_of
from covtool.printable import printable
from covtool.regular_files import is_regular, read_bytes

SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")


def find_file(root: Path, *names: str) -> Path:
    """Return the first of some files that is there.

    Raises:
        DataError: None is there; the error names them.
    """
    found = first_file(root, *names)
    if found is None:
        raise DataError(
            f"{root} has no {' and no '.join(names)}.",
            reason="The data set is read by it.",
            hint="Unpack the whole archive again.",
        )
    return found


def first_file(root: Path, *names: str) -> Path | None:
    """Return the first of some files or folders that is there; None without."""
    return next((root / name for name in names if (root / name).exists()), None)


def first_and_rest(file: Path) -> list[tuple[str, str]]:
    """Return the first word of each line, and what follows it.

    Raises:
        DataError: A line has one word only.
    """
    pairs = []
    for line in lines_of(file):
        first, *rest = line.split(maxsplit=1)  # paths and names behind it may hold spaces
        if not rest:
            raise DataError(
                f"{file}: nothing follows {printable(first)!r}.", hint="It may be cut off."
            )
        pairs.append((first, rest[0]))
    return pairs


def names_and_boxes(file: Path) -> list[tuple[str, tuple[float, float, float, float]]]:
    """Return the first word of each line, and the four numbers that follow it.

    Raises:
        DataError: A line has other than four numbers.
    """
    found = []
    for line in lines_of(file):
        name, *cells = line.split()
        try:
            first, second, third, fourth = map(float, cells)
        except ValueError as problem:
            raise DataError(f"{file}: {printable(line)!r} is not a name and a box.") from problem
        found.append((name, (first, second, third, fourth)))
    return found


def rest_and_last(file: Path) -> list[tuple[str, str]]:
    """Return the last word of each line, and what is before it.

    Raises:
        DataError: A line has one word only.
    """
    pairs = []
    for line in lines_of(file):
        *rest, last = line.rsplit(maxsplit=1)  # paths before it may hold spaces
        if not rest:
            raise DataError(
                f"{file}: {printable(line)!r} is not a path and a label.", hint="It may be cut off."
            )
        pairs.append((rest[0], last))
    return pairs


def looked_up(table: dict[str, Any], key: str, file: Path) -> Any:
    """Return an entry of a list.

    Raises:
        DataError: It has none of that name.
    """
    if key not in table:
        raise DataError(f"{file} says nothing about {printable(key)!r}.", hint="It may be cut off.")
    return table[key]


def read_json(file: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        DataError: It is damaged.
    """
    with translate_list_errors(file):
        return parse_json(text_of(file))


def read_mat(file: Path, *names: str) -> list[Any]:
    """Return variables of a MATLAB file without axes of length 1; see `variables_of`.

    Raises:
        DataError: It is damaged, or lacks one.
    """
    try:
        variables = variables_of(read_bytes(file, at_most=LONGEST_MAT))
    except Exception as problem:  # on damaged bytes, numpy raises errors of many types
        raise DataError(f"{file} cannot be read.", reason=reason_of(problem)) from problem
    missing = [name for name in names if name not in variables]
    if missing:
        raise DataError(f"{file} has no variable {missing[0]!r}.")
    return [variables[name] for name in names]


def with_suffix(path: Path) -> Path:
    """Return the image file of a name without suffix; with .jpg where there is none."""
    # Not `with_suffix`, which would replace what is behind a dot in the name.
    candidates = (path.with_name(path.name + suffix) for suffix in SUFFIXES)
    return next((p for p in candidates if is_regular(p)), path.with_name(path.name + ".jpg"))


def required(file: Path, images: Iterable[Labeled], folder: Path) -> list[Labeled]:
    """Return labeled images, after a check that all are there.

    Args:
        file: The list, for an error.
        images: Images with the names of their classes.
        folder: Folder that they are in.

    Raises:
        DataError: The list is empty, or an image is not there.
    """
    images = list(images)
    if not images:
        raise DataError(f"{file} lists no images.")
    require_files(file, [path for path, _ in images], folder)
    return images


def boxed(images: Iterable[Labeled], boxes: dict[str, tuple], file: Path) -> list[Labeled]:
    """Crop images to their boxes.

    Args:
        images: Images with the names of their classes.
        boxes: Left, upper, right and lower edge, by the path of the image as text.
        file: File of the boxes, for an error.

    Raises:
        DataError: An image has none.
    """
    return [(BoxedImage(p, looked_up(boxes, str(p), file)), label) for p, label in images]
