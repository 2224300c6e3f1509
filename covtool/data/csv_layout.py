"""Labeled images listed in a CSV file."""

import csv
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from covtool.data.csv_columns import (
    FLAGS,
    LABEL,
    PATH,
    SPLIT,
    SPLIT_COLUMNS,
    candidates,
    flag_split,
    normalized,
)
from covtool.data.images import is_image
from covtool.data.listed_files import ListedFiles
from covtool.errors import DataError

SUFFIXES = (".csv", ".tsv")
DELIMITERS = ",;\t|"

Row = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What the lines of a CSV file hold. Names of columns may be in any case there.

    Attributes:
        columns: Their names, the first being ``path``; no cell of them may be empty.
        optional: Of columns that may be left out, or have empty cells.
        split_names: What may stand in the column ``split``, in any case; it may be left out.
    """

    columns: tuple[str, ...]
    split_names: Collection[str]
    optional: tuple[str, ...] = ()

    @property
    def first_line(self) -> str:
        """As it should read."""
        short = ",".join((*self.columns, *self.optional))
        return f"{short} or {short},split"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a CSV file lists.

    Attributes:
        splits: By split, its rows, or images with their labels.
        notes: What was read as what.
    """

    splits: dict[str, list]
    notes: tuple[str, ...]


def is_table(path: Path) -> bool:
    """Whether a file is a list of images, told from its name."""
    return path.suffix.lower() in SUFFIXES


def read_labeled(file: Path, *, split_names: Collection[str], default: str) -> Listing:
    """The images and labels of a CSV file, by split; see `read_table`.

    Args:
        file: Columns ``path`` and ``label``, and perhaps ``split``.
        split_names: What may stand in ``split``, in any case.
        default: The only split, where the file has no column ``split``.

    Raises:
        DataError: See `read_table`.
    """
    table = Table(columns=(PATH, LABEL), split_names=split_names)
    read = read_table(file, table, default=default)
    splits = {
        split: [(file.parent / row[PATH], row[LABEL]) for row in rows]
        for split, rows in read.splits.items()
    }
    return Listing(splits=splits, notes=read.notes)


def read_table(file: Path, table: Table, *, default: str) -> Listing:
    """The rows of a CSV file, by split, without the spaces around their cells.

    Paths are relative to the file's folder; images that are not there are looked for by their
    names. Columns may have other names, see `covtool.data.csv_columns`; those that mean nothing
    are left alone.

    Args:
        file: In UTF-8; cells are separated by commas, semicolons, tabs or bars.
        table: Which columns there are.
        default: The only split, where the file has no column ``split``.

    Raises:
        DataError: Not text, no such columns, no rows, a row that lacks something, missing files;
            several columns or files that could be meant.
    """
    found, files = defaultdict(list), ListedFiles(file)
    with _opened(file) as (reader, names):
        columns = _Columns.of(file, names, table)
        for row in reader:
            line = f"{file}, line {reader.line_num}"
            split = columns.split(line, row, default)
            cells = {kind: _cell(line, row, columns.own[kind]) for kind in table.columns}
            cells |= {
                kind: _cell(line, row, columns.own[kind], may_be_empty=True)
                for kind in table.optional
                if kind in columns.own
            }
            cells[PATH] = files.relative_path(cells[PATH], () if split == default else (split,))
            found[split].append(cells)
    if not found:
        raise DataError(f"{file} lists no images.")
    paths = [file.parent / row[PATH] for rows in found.values() for row in rows]
    require_files(file, paths, file.parent)
    return Listing(splits=dict(found), notes=(*columns.notes, *_note_on(files, len(paths))))


def columns_of(file: Path) -> tuple[str, ...]:
    """The names of the columns of a CSV file, and what they mean: ``path``, ``label``.

    Raises:
        DataError: It is not text.
    """
    with _opened(file) as (_, names):
        meant = (kind for kind in (PATH, LABEL) if kind not in names and candidates(kind, names))
        return (*names, *meant)


def require_files(file: Path, paths: Sequence[Path], folder: Path) -> None:
    """Refuse a list of images, some of which are not there.

    Args:
        file: That lists them.
        paths: Of the images.
        folder: That the paths in the file are relative to.

    Raises:
        DataError: It names the first.
    """
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(paths)} images that {file} lists are not there.",
            reason=f"The first: {missing[0]}.",
            hint=f"Paths in the file are relative to the folder {folder.resolve()}.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """Which column is which.

    Attributes:
        own: The file's names of the columns.
        flags: Columns of yes and no that say the split.
        split_names: What may stand in the column of splits.
        notes: What was read as what.
    """

    own: Mapping[str, str]
    flags: tuple[str, ...]
    split_names: Collection[str]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, file: Path, names: Sequence[str], table: Table) -> "_Columns":
        _require_columns(file, names, table)
        own, notes = {}, []
        for kind in (*table.columns, *table.optional):
            column = _chosen(file, kind, candidates(kind, names), needed=kind in table.columns)
            own |= {kind: column} if column else {}
        split, flags, alone = _splits(file, names, table.split_names)
        own |= {SPLIT: split} if split else {}
        told = [f"{name!r} as {kind}" for kind, name in own.items() if kind != name]
        told += [f"{' and '.join(map(repr, flags))} as {SPLIT}"] if flags else []
        notes += [f"{file.name}: {', '.join(told)}."] if told else []
        notes += [f"{file.name}: the column {n!r} holds no names of splits." for n in alone]
        return cls(own=own, flags=flags, split_names=table.split_names, notes=tuple(notes))

    def split(self, line: str, row: Mapping[str, str | None], default: str) -> str:
        """The split that a row belongs to."""
        if self.flags:
            return flag_split({name: _cell(line, row, name) for name in self.flags}, self.flags)
        if SPLIT not in self.own:
            return default
        text = _cell(line, row, self.own[SPLIT])
        if text.lower() not in self.split_names:
            raise DataError(
                f"{line}: there is no split {text!r}.",
                hint=f"Known: {', '.join(self.split_names)}.",
            )
        return text


def _chosen(file: Path, kind: str, found: Sequence[str], *, needed: bool) -> str | None:
    """One of the columns that could be of a kind."""
    if len(found) < 2:
        return found[0] if found else None
    if kind == LABEL and len(set(found)) == len(found):
        values = _values(file, found)
        counts = {len({row[at] for row in values}) for at in range(len(found))}
        if counts == {len(values)}:  # each value of one stands for one of the others
            in_words = [n for at, n in enumerate(found) if not all(v[at].isdigit() for v in values)]
            return (in_words or found)[0]
    if not needed:
        return None
    raise DataError(
        f"{file} has {len(found)} columns that could be the {kind}: {', '.join(found)}.",
        hint=f"Call the one that is meant {kind!r}.",
    )


def _splits(
    file: Path, names: Sequence[str], split_names: Collection[str]
) -> tuple[str | None, tuple[str, ...], tuple[str, ...]]:
    """The column of splits or those of yes and no, and the columns that only sound like it."""
    if SPLIT in names:
        return _chosen(file, SPLIT, candidates(SPLIT, names), needed=True), (), ()
    alone = []
    for name in (name for name in names if name in SPLIT_COLUMNS):
        if all(value.lower() in split_names for (value,) in _values(file, (name,))):
            return name, (), tuple(alone)
        alone.append(name)
    flags = tuple(name for name in names if name in FLAGS)
    if flags and any(
        flag_split(dict(zip(flags, values, strict=True)), flags) not in split_names
        for values in _values(file, flags)
    ):
        return None, (), (*alone, *flags)
    return None, flags, tuple(alone)


def _values(file: Path, names: Sequence[str]) -> set[tuple[str, ...]]:
    """What stands in some columns, each combination once."""
    with _opened(file) as (reader, _):
        return {tuple((row[name] or "").strip() for name in names) for row in reader}


@contextmanager
def _opened(file: Path) -> Iterator[tuple[csv.DictReader, tuple[str, ...]]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            delimiter = _delimiter(stream.readline())
            stream.seek(0)
            reader = csv.DictReader(stream, skipinitialspace=True, delimiter=delimiter)
            columns = [normalized(name) for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            yield reader, tuple(columns)
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DataError(f"{file} is not a CSV file in UTF-8.", reason=str(problem)) from problem


def _delimiter(first_line: str) -> str:
    """What separates the names of the columns: what there is most of outside quotes."""
    bare = "".join(first_line.split('"')[::2])
    return max(DELIMITERS, key=bare.count)


def _require_columns(file: Path, names: Sequence[str], table: Table) -> None:
    missing = [kind for kind in table.columns if not candidates(kind, names)]
    if not missing:
        return
    if any(is_image(Path(name)) for name in names):
        raise DataError(
            f"The first line of {file} does not name the columns.",
            reason=f"It reads: {', '.join(names)}.",
            hint=f"A first line is missing, which should read {table.first_line}.",
        )
    raise DataError(
        f"{file} has no column {' and no column '.join(map(repr, missing))}.",
        reason=f"Its first line names: {', '.join(names) or 'nothing'}.",
        hint=f"The first line should read {table.first_line}.",
    )


def _cell(
    line: str, row: Mapping[str, str | None], column: str, *, may_be_empty: bool = False
) -> str:
    if may_be_empty and row[column] is None:
        raise DataError(f"{line} ends before the {column}.", reason="The file may be cut off.")
    text = (row[column] or "").strip()
    if not text and not may_be_empty:
        raise DataError(f"{line}: the {column} is empty.")
    return text


def _note_on(files: ListedFiles, count: int) -> Iterator[str]:
    if files.found:
        text, path = next(iter(files.found.items()))
        yield f"{len(files.found):,} of {count:,} images were found by name: {text!r} is {path}."
