"""Rows of a table, many at a time: plain ones at once, others one after the other."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from covtool.data.datasets.lists.chosen_columns import ChosenColumns, TableSpec
from covtool.data.datasets.lists.column_names import PATH
from covtool.data.datasets.lists.csv_file import (
    NumberedRows,
    OpenBlocks,
    cell_of,
    plain_cells,
    row_of,
)
from covtool.data.datasets.lists.listed_files import ListedFiles


class Block(NamedTuple):
    """Rows that follow each other.

    Attributes:
        splits: Split of each row.
        cells: Cells of each row, by the meaning of their column.
    """

    splits: Sequence[str]
    cells: Mapping[str, Sequence[str]]

    def rows(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield the split and the cells of each row."""
        for split, *cells in zip(self.splits, *self.cells.values(), strict=True):
            yield split, dict(zip(self.cells, cells, strict=True))


class RowBlocks:
    """Reads a table: a row takes twenty calls where each cell is looked at by itself.

    Args:
        file: The file.
        table: Columns that it must or may have.
        default: Name of the only split, where it has no column of splits.
        files: Finds the images, row by row; None to take paths for what they say, many at a time.
            With it blocks are to have a single row, so that the first wrong one is told of.
    """

    def __init__(
        self, file: Path, table: TableSpec, default: str, files: ListedFiles | None
    ) -> None:
        self._place, self._file, self._table, self._default = str(file), file, table, default
        self._files = files
        self.notes: tuple[str, ...] = ()

    def blocks(self, opened: OpenBlocks) -> Iterator[Block]:
        """Yield all rows, by the block.

        Raises:
            DataError: A column is missing, several could be meant, or a row lacks something.
        """
        names, blocks = opened
        chosen = ChosenColumns.of(self._file, names, self._table)
        self.notes = chosen.notes
        kinds = (*self._table.columns, *(k for k in self._table.optional if k in chosen.columns))
        for block in blocks:
            plain = None if self._files else self._at_once(block, names, chosen, kinds)
            yield plain or self._one_by_one(block, names, chosen, kinds)

    def _at_once(
        self,
        rows: NumberedRows,
        names: Sequence[str],
        chosen: ChosenColumns,
        kinds: Sequence[str],
    ) -> Block | None:
        """Return rows of which none needs a second look, else None."""
        columns = list(zip(*rows.cells, strict=False))
        if len(columns) < len(names):  # the row that ends first decides
            return None
        by_name = dict(zip(names, columns, strict=False))
        splits = chosen.plain_splits(by_name, len(rows.cells), self._default)
        if splits is None:
            return None
        found = {}
        for kind in kinds:
            may_be_empty = kind not in self._table.columns
            cells = plain_cells(by_name[chosen.columns[kind]], may_be_empty=may_be_empty)
            if cells is None:
                return None
            found[kind] = cells
        return Block(splits, found)

    def _one_by_one(
        self,
        rows: NumberedRows,
        names: Sequence[str],
        chosen: ChosenColumns,
        kinds: Sequence[str],
    ) -> Block:
        """Return rows each cell of which is looked at."""
        splits: list[str] = []
        found: dict[str, list[str]] = {kind: [] for kind in kinds}
        for number, cells in zip(*rows, strict=True):
            line, row = f"{self._place}, line {number}", row_of(names, cells)
            split = chosen.split(line, row, self._default)
            for kind in kinds:
                may_be_empty = kind not in self._table.columns
                text = cell_of(line, row, chosen.columns[kind], may_be_empty=may_be_empty)
                found[kind].append(text)
            # The split tells 1.jpg of train/ from 1.jpg of test/.
            hints = () if split == self._default else (split,)
            if self._files is not None:
                found[PATH][-1] = self._files.relative_path(found[PATH][-1], hints)
            splits.append(split)
        return Block(splits, found)
