"""Labeled images listed in a CSV file."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress, islice
from pathlib import Path

from covtool.data.datasets.folder_entries import all_are_files
from covtool.data.datasets.found_images import LabeledPaths
from covtool.data.datasets.garbage import without_collection
from covtool.data.datasets.image_paths import ImagePaths, ImagePathsBuilder, all_below
from covtool.data.datasets.lists.chosen_columns import TableSpec
from covtool.data.datasets.lists.column_names import IDENTITY, LABEL, PATH, candidates
from covtool.data.datasets.lists.csv_file import opened_blocks, opened_table
from covtool.data.datasets.lists.label_cells import one_class_each
from covtool.data.datasets.lists.listed_files import ListedFiles
from covtool.data.datasets.lists.row_blocks import Block, RowBlocks
from covtool.data.datasets.lists.text import note_on_encoding
from covtool.errors import DataError
from covtool.full_paths import in_full
from covtool.printable import printable
from covtool.regular_files import is_regular

SUFFIXES = (".csv", ".tsv")

Row = dict[str, str]
"""Cells by column."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Content of a CSV file of images.

    Attributes:
        splits: Rows, or images with their labels, by split.
        notes: Notes for the user on what was read.
    """

    splits: dict[str, Sequence]
    notes: tuple[str, ...]


def is_table(path: Path) -> bool:
    """Return whether a file has the suffix of a table."""
    return path.suffix.lower() in SUFFIXES


@without_collection()
def read_labeled(file: Path, *, split_names: Collection[str], default: str) -> Listing:
    """Return the images and labels of a CSV file, by split; see `read_table`.

    Args:
        file: CSV file with columns ``path`` and ``label``, and perhaps ``split``.
        split_names: Values of ``split``, in any case.
        default: Name of the only split, where the file has no column ``split``.

    Raises:
        DataError: See `read_table` and `one_class_each`.
    """
    table = TableSpec(columns=(PATH, LABEL), split_names=split_names)
    try:
        columns = _Columns(file)
        read = _read(file, table, default=default, keep=columns.keep)
        paths = columns.paths()
        is_plain = all(map(all_are_files, paths.values()))
    except DataError:
        is_plain = False  # which row is the first one to be wrong is found by each
    if not is_plain:
        columns = _Columns(file)
        files = ListedFiles(file)  # a file that is not there may be found by its name
        read = _read(file, table, default=default, keep=columns.keep, files=files)
        paths = columns.paths()
    cells = list(chain.from_iterable(columns.cells.values()))
    labels, notes = one_class_each(file, cells)
    # The labels of all splits were read together: the same class in each, whatever its cells.
    label = iter(labels)
    splits = {
        split: LabeledPaths.of(found, islice(label, len(found))) for split, found in paths.items()
    }
    return Listing(splits=splits, notes=(*read.notes, *notes))


class _Columns:
    """Paths and labels of a list, as they come.

    Attributes:
        cells: Cells of the labels, by split.
    """

    def __init__(self, file: Path) -> None:
        self._folder = file.parent
        self._paths: dict[str, ImagePathsBuilder] = defaultdict(ImagePathsBuilder)
        self._known: dict[str, str] = {}  # one text for a class
        self.cells: dict[str, list[str]] = defaultdict(list)

    def keep(self, block: Block) -> None:
        """Add rows."""
        texts, named = all_below(self._folder, block.cells[PATH]), block.cells[LABEL]
        labels = list(map(self._known.setdefault, named, named))
        for split in dict.fromkeys(block.splits):
            here = [one == split for one in block.splits]
            self._paths[split].extend(list(compress(texts, here)))
            self.cells[split] += compress(labels, here)

    def paths(self) -> dict[str, ImagePaths]:
        """Return the paths by split."""
        return {split: found.done() for split, found in self._paths.items()}


def read_table(file: Path, table: TableSpec, *, default: str) -> Listing:
    """Return the rows of a CSV file, by split, without the spaces around their cells.

    Paths are relative to the file's folder; images that are not there are looked for by their
    names. Columns may have other names, see `covtool.data.datasets.lists.column_names`; those that
    mean nothing are left alone.

    Args:
        file: CSV file; see `opened_table`.
        table: Columns that it must or may have.
        default: Name of the only split, where the file has no column ``split``.

    Raises:
        DataError: Not text, no such columns, no rows, a row that lacks something, missing files;
            several columns or files that could be meant.
    """
    return _read(file, table, default=default, files=ListedFiles(file))


def _read(
    file: Path,
    table: TableSpec,
    *,
    default: str,
    keep: Callable[[Block], None] | None = None,
    files: ListedFiles | None = None,
) -> Listing:
    """Read a table, whose paths are taken for what they say where `files` is None.

    Args:
        file: See `read_table`.
        table: See there.
        default: See there.
        keep: Function that takes the rows, which are in no list then.
        files: Finds the images.
    """
    found: dict[str, list[Row]] = defaultdict(list)
    total, reader = 0, RowBlocks(file, table, default, files)
    with opened_blocks(file, one_by_one=files is not None) as opened:
        for block in reader.blocks(opened):
            total += len(block.splits)
            if keep is not None:
                keep(block)
                continue
            for split, row in block.rows():
                found[split].append(row)
    if not total:
        raise DataError(f"{file} lists no images.")
    missing = files.missing if files else []
    # Before the error about missing files, whose hint would not help.
    if address := next((text for text in missing if "://" in text), None):
        raise DataError(
            f"{file} lists addresses, like {printable(address)}.",
            reason="covtool downloads nothing.",
            hint="Download the images, and list the files.",
        )
    if missing:
        raise _not_there(file, [file.parent / text for text in missing], total, file.parent)
    by_name = _note_on(files, total) if files else ()
    notes = (*note_on_encoding(file), *reader.notes, *by_name)
    return Listing(splits=dict(found), notes=notes)


def columns_of(file: Path) -> tuple[str, ...]:
    """Return the names of the columns of a CSV file, in lower case.

    Raises:
        DataError: It is not text.
    """
    with opened_table(file) as (names, _):
        return names


def meanings_in(file: Path) -> tuple[str, ...]:
    """Return the names of a CSV file's columns, and the meanings of those with other names.

    Raises:
        DataError: It is not text.
    """
    names = columns_of(file)
    meant = (
        kind for kind in (PATH, LABEL, IDENTITY) if kind not in names and candidates(kind, names)
    )
    return (*names, *meant)


def require_files(file: Path, paths: Sequence[Path], folder: Path) -> None:
    """Refuse a list of images, some of which are not there.

    Args:
        file: The list.
        paths: Paths of the images.
        folder: Folder that the paths in the file are relative to.

    Raises:
        DataError: An image is missing; the error names the first.
    """
    missing = [path for path in paths if not is_regular(path)]
    if missing:
        raise _not_there(file, missing, len(paths), folder)


def _note_on(files: ListedFiles, count: int) -> Iterator[str]:
    if files.found:
        text, path = next(iter(files.found.items()))
        text, path = printable(text), printable(path)
        yield f"{len(files.found):,} of {count:,} images were found by name: {text!r} is {path}."


def _not_there(file: Path, missing: Sequence[Path], total: int, folder: Path) -> DataError:
    return DataError(
        f"{len(missing)} of {total} images that {file} lists are not there.",
        reason=f"The first: {printable(str(missing[0]))}.",
        hint=f"Paths in the file are relative to the folder {in_full(folder)}.",
    )
