"""Choice of the columns of a list of images; a file whose columns are ambiguous is refused."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from covtool.data.datasets.found_images import shown
from covtool.data.datasets.lists.column_names import (
    FLAGS,
    LABEL,
    SPLIT,
    SPLIT_COLUMNS,
    candidates,
    flag_split,
)
from covtool.data.datasets.lists.csv_file import cell_of, plain_cells, values_of
from covtool.data.images.decoding import is_image
from covtool.errors import DataError
from covtool.printable import printable


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSpec:
    """Columns that a CSV file must or may have. Their names are in any case there.

    Attributes:
        columns: Names of columns, the first being ``path``; no cell of them may be empty.
        optional: Names of columns that may be missing, or have empty cells.
        split_names: Values of the column ``split``, in any case; the column may be missing.
    """

    columns: tuple[str, ...]
    split_names: Collection[str]
    optional: tuple[str, ...] = ()

    @property
    def first_line(self) -> str:
        """The first line that a file should have."""
        short = ",".join((*self.columns, *self.optional))
        return f"{short} or {short},split"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenColumns:
    """Columns of a file by their meaning.

    Attributes:
        columns: The file's names of the columns.
        flags: Columns of yes and no that define the split.
        split_names: Values of the column of splits.
        notes: Notes on columns that have other names.
    """

    columns: Mapping[str, str]
    flags: tuple[str, ...]
    split_names: Collection[str]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, file: Path, names: Sequence[str], table: TableSpec) -> "ChosenColumns":
        """Choose the columns of a file.

        Raises:
            DataError: A column is missing, or several could be meant.
        """
        _require_columns(file, names, table)
        columns, notes = {}, []
        for kind in (*table.columns, *table.optional):
            column = _chosen(file, kind, candidates(kind, names), needed=kind in table.columns)
            columns |= {kind: column} if column else {}
        split, flags, alone = _splits(file, names, table.split_names)
        columns |= {SPLIT: split} if split else {}
        renamed = [
            f"{printable(name)!r} as {kind}" for kind, name in columns.items() if kind != name
        ]
        renamed += [f"{' and '.join(map(repr, flags))} as {SPLIT}"] if flags else []
        notes += [f"{file.name}: {', '.join(renamed)}."] if renamed else []
        notes += [
            f"{file.name}: the column {printable(n)!r} holds no names of splits." for n in alone
        ]
        return cls(columns=columns, flags=flags, split_names=table.split_names, notes=tuple(notes))

    def split(self, line: str, row: Mapping[str, str | None], default: str) -> str:
        """Return the split that a row belongs to."""
        if self.flags:
            return flag_split({name: cell_of(line, row, name) for name in self.flags}, self.flags)
        if SPLIT not in self.columns:
            return default
        text = cell_of(line, row, self.columns[SPLIT])
        if text.lower() not in self.split_names:
            raise DataError(
                f"{line}: there is no split {printable(text)!r}.",
                hint=f"Known: {', '.join(self.split_names)}.",
            )
        return text

    def plain_splits(
        self, columns: Mapping[str, Sequence[str]], rows: int, default: str
    ) -> Sequence[str] | None:
        """Return what `split` returns for each of many rows, or None where one is unusual.

        Args:
            columns: Cells of the rows by column.
            rows: Number of the rows.
            default: Name of the only split.
        """
        if self.flags:
            return None
        if SPLIT not in self.columns:
            return [default] * rows
        splits = plain_cells(columns[self.columns[SPLIT]])
        known = splits is not None and all(s.lower() in self.split_names for s in set(splits))
        return splits if known else None


def _chosen(file: Path, kind: str, found: Sequence[str], *, needed: bool) -> str | None:
    """Choose one of the columns that could be of a kind."""
    if len(found) < 2:
        return found[0] if found else None
    # Two columns that number and name the same classes are one choice, not two.
    if kind == LABEL and len(set(found)) == len(found):
        values = values_of(file, found)
        counts = {len({row[at] for row in values}) for at in range(len(found))}
        if counts == {len(values)}:  # each value of one stands for one of the others
            in_words = [n for at, n in enumerate(found) if not all(v[at].isdigit() for v in values)]
            return (in_words or found)[0]
    if not needed:  # an optional column that is not sure is none
        return None
    raise DataError(
        f"{file} has {len(found)} columns that could be the {kind}: {shown(found)}.",
        hint=f"Call the one that is meant {kind!r}.",
    )


def _splits(
    file: Path, names: Sequence[str], split_names: Collection[str]
) -> tuple[str | None, tuple[str, ...], tuple[str, ...]]:
    """Return the column of splits, those of yes and no, and those that have neither."""
    if SPLIT in names:
        return _chosen(file, SPLIT, candidates(SPLIT, names), needed=True), (), ()
    alone = []
    for name in (name for name in names if name in SPLIT_COLUMNS):
        if all(value.lower() in split_names for (value,) in values_of(file, (name,))):
            return name, (), tuple(alone)
        alone.append(name)
    flags = tuple(name for name in names if name in FLAGS)
    if flags and any(
        flag_split(dict(zip(flags, values, strict=True)), flags) not in split_names
        for values in values_of(file, flags)
    ):
        return None, (), (*alone, *flags)
    return None, flags, tuple(alone)


def _require_columns(file: Path, names: Sequence[str], table: TableSpec) -> None:
    missing = [kind for kind in table.columns if not candidates(kind, names)]
    if not missing:
        return
    if any(is_image(Path(name)) for name in names):  # a list without a first line
        raise DataError(
            f"The first line of {file} does not name the columns.",
            reason=f"It reads: {shown(names)}.",
            hint=f"A first line is missing, which should read {table.first_line}.",
        )
    raise DataError(
        f"{file} has no column {' and no column '.join(map(repr, missing))}.",
        reason=f"Its first line names: {shown(names, 24) or 'nothing'}.",
        hint=f"The first line should read {table.first_line}.",
    )
