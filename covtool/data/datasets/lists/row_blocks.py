"""Rows of a table, many at a time: plain ones at once, others one after the other."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from covtool.data.datasets.lists.chosen_columns import ChosenColumns, TableSpec
from covtool.data.datasets.lists.column_names import PATH
from covtool.data.datasets.lists.csv_file import OpenCells, cell_of, plain_cells, row_of
from covtool.data.datasets.lists.listed_files import ListedFiles

_CELLS_AT_ONCE, _CHARACTERS_AT_ONCE = 1 << 15, 1 << 22


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

    Where files are found, each row is looked at before the next is read, so that the first one that
    is wrong is told of.

    Args:
        file: The file.
        table: Columns that it must or may have.
        default: Name of the only split, where it has no column of splits.
        files: Finds the images, row by row; None to take paths for what they say, many at a time.
    """

    def __init__(
        self, file: Path, table: TableSpec, default: str, files: ListedFiles | None
    ) -> None:
        self._place, self._file, self._table, self._default = str(file), file, table, default
        self._files = files
        self.notes: tuple[str, ...] = ()

    def blocks(self, opened: OpenCells) -> Iterator[Block]:
        """Yield all rows, by the block.

        Raises:
            DataError: A column is missing, several could be meant, or a row lacks something.
        """
        names, rows = opened
        chosen = ChosenColumns.of(self._file, names, self._table)
        self.notes = chosen.notes
        kinds = (*self._table.columns, *(k for k in self._table.optional if k in chosen.columns))
        while block := self._next(rows):
            plain = None if self._files else self._at_once(block, names, chosen, kinds)
            yield plain or self._one_by_one(block, names, chosen, kinds)

    def _next(self, rows: Iterator[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
        """Return the rows of the next block, at least one where there is one."""
        block: list[tuple[int, list[str]]] = []
        cells, characters = _CELLS_AT_ONCE, _CHARACTERS_AT_ONCE
        for row in islice(rows, 1 if self._files else None):
            block.append(row)
            cells -= len(row[1])
            characters -= sum(map(len, row[1]))
            if cells <= 0 or characters <= 0:
                break
        return block

    def _at_once(
        self,
        rows: Sequence[tuple[int, list[str]]],
        names: Sequence[str],
        chosen: ChosenColumns,
        kinds: Sequence[str],
    ) -> Block | None:
        """Return rows of which none needs a second look, else None."""
        columns = list(zip(*(cells for _, cells in rows), strict=False))
        if len(columns) < len(names):  # the row that ends first decides
            return None
        by_name = dict(zip(names, columns, strict=False))
        splits = chosen.plain_splits(by_name, len(rows), self._default)
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
        rows: Sequence[tuple[int, list[str]]],
        names: Sequence[str],
        chosen: ChosenColumns,
        kinds: Sequence[str],
    ) -> Block:
        """Return rows each cell of which is looked at."""
        splits: list[str] = []
        found: dict[str, list[str]] = {kind: [] for kind in kinds}
        for number, cells in rows:
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
