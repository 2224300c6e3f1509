"""The logs of a run: metrics.jsonl gets a line with every update, summary.csv a row per epoch.

spectra.jsonl gets a line with every half-step of SVDNet's training, notes.jsonl with every note.
"""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from covtool.errors import DataError, SaveError
from covtool.run_files import (
    METRICS,
    NOTES,
    SPECTRA,
    SUMMARY,
    epoch_rows,
    spectrum_rows,
    step_rows,
)
from covtool.run_files.logs import LONGEST_LINE, Line, damaged, summary_columns
from covtool.run_files.notes import note_line, note_rows, notes_in
from covtool.training.run.records import COLUMNS, EpochRecord, StepRecord

SUMMARY_COLUMNS = ("epoch", "train_loss", "eval_loss", "eval_top1", "eval_top5", "lr", "head")
_OF_SEARCH = (
    *("eval_rank1", "eval_rank5", "eval_rank10", "eval_rank20", "eval_mAP", "eval_mINP"),
    *("eval_r_precision", "eval_mAP_at_R"),
)
SEARCHED_COLUMNS = ("epoch", "train_loss", *_OF_SEARCH, "lr", "head")
PHASED_COLUMNS = (
    *("epoch", "phase", "train_loss"),
    *_OF_SEARCH,
    *("correlation", "smallest_eigenvalue_ratio"),
    *("lr", "head"),
)

LOGS = (METRICS, SUMMARY, SPECTRA, NOTES)

RANK = "rank_1"
"""A figure that every search has."""

Numbered = Iterable[tuple[Line, int]]
"""Lines with the number of updates or epochs that are done by then."""


class RunLogs:
    """The logs of a run, in its folder.

    A line that cannot be written, on a full disk for example, is written with the next.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._unwritten: dict[str, str] = {}

    def append_step(self, record: StepRecord) -> None:
        """Add a line to metrics.jsonl."""
        self._append(METRICS, json.dumps(asdict(record)) + "\n")

    def append_epoch(self, record: EpochRecord) -> None:
        """Add a row to summary.csv; epochs count from 0 there, as timm's do."""
        row: dict[str, Any] = {
            "epoch": record.epoch - 1,
            "train_loss": record.train_loss,
            **{COLUMNS[name]: value for name, value in record.figures.items()},
            "lr": record.lr,
            "head": record.head,
        }
        if (phase := record.phase) is not None:
            measured = asdict(phase)
            self._append_spectrum(record.epoch, phase.name, measured.pop("spectrum"))
            row |= {"phase": measured.pop("name"), **measured}
        text = io.StringIO()
        columns = columns_of(phased=phase is not None, searched=RANK in record.figures)
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        # The header, too, may be among the lines that a full disk has not taken yet.
        if not self._size(SUMMARY) and SUMMARY not in self._unwritten:
            writer.writeheader()
        writer.writerow(row)
        self._append(SUMMARY, text.getvalue())

    def append_note(self, text: str) -> None:
        """Add a line to notes.jsonl."""
        self._append(NOTES, note_line(text))

    def cut_notes(self) -> None:
        """Drop the half of a note that was being written when a run was killed.

        Notes on what is done again are given again, in the same words: they stay.

        Raises:
            SaveError: The file cannot be changed.
        """
        self._cut(NOTES, ((row.line, 1) for row in note_rows(self._folder)), last=1, needed=0)

    def _append_spectrum(self, epoch: int, phase: str, values: Sequence[float]) -> None:
        """Add a line to spectra.jsonl, of a half-step that is over."""
        if not values or not all(map(math.isfinite, values)):
            return
        shortened = [float(f"{value:.6g}") for value in values]
        row = {"epoch": epoch, "phase": phase, "singular_values": shortened}
        text = json.dumps(row, separators=(",", ":")) + "\n"
        if len(text) <= LONGEST_LINE:  # what is longer would not be read; k is 7,000 there
            self._append(SPECTRA, text)

    def forget_all(self) -> None:
        """Drop the rows and lines of a run that was killed before it was first saved.

        Raises:
            SaveError: They cannot be removed.
        """
        for name in LOGS:
            try:
                (self._folder / name).unlink(missing_ok=True)
            except OSError as problem:
                raise SaveError.of(self._folder / name, problem) from problem

    def forget_after(
        self,
        *,
        epochs: int,
        updates: int,
        skipped: int = 0,
        columns: tuple[str, ...] = SUMMARY_COLUMNS,
    ) -> tuple[str, ...]:
        """Drop the rows and lines of what came after a state that is resumed from.

        What was being written when a run was killed, or when the power failed, comes after it too.

        Args:
            epochs: Epochs done.
            updates: Updates done.
            skipped: Updates among these that were not finite, which left no line.
            columns: Columns of such a run's summary.csv; see `columns_of`.

        Returns:
            What the logs lack of what was done before, in sentences.

        Raises:
            DataError: A line that counts is damaged.
            SaveError: They cannot be changed.
        """
        header = self._require_columns(columns)
        steps = ((row.line, row.update) for row in step_rows(self._folder))
        rows = ((row.line, row.epoch + 1) for row in epoch_rows(self._folder))
        found = self._cut(METRICS, steps, last=updates, needed=updates - skipped)
        done = self._cut(SUMMARY, rows, last=epochs, needed=epochs, least=header)
        # Of more than there can be: damage is told wherever it is. How many there should be is not
        # known, as runs of older versions have none.
        spectra = ((row.line, row.epoch) for row in spectrum_rows(self._folder))
        self._cut(SPECTRA, spectra, last=epochs, needed=epochs + 1)
        self.cut_notes()
        lacking = ((METRICS, updates - skipped, found, "update"), (SUMMARY, epochs, done, "epoch"))
        return tuple(
            f"{self._folder / name} lacks {needed - there} of {needed} {what}s: what is drawn of "
            "the run has a gap there."
            for name, needed, there, what in lacking
            if there < needed
        )

    def sync(self) -> None:
        """Let every line reach the disk, those of times when it was full as well.

        Raises:
            SaveError: It is still full.
        """
        for name in LOGS:
            path = self._folder / name
            if (problem := self._append(name, "")) is not None:
                raise SaveError.of(path, problem) from problem
            self._change(name, os.fsync)

    def _require_columns(self, columns: tuple[str, ...]) -> int:
        """Return where the line of the columns ends: rows of others would not fit below them.

        Raises:
            DataError: They are others than those of the rows to come.
        """
        try:
            names, end = summary_columns(self._folder)
        except FileNotFoundError:
            return 0
        except DataError as problem:
            raise _to_be_moved(problem, self._folder / SUMMARY) from problem
        if names and tuple(names) != columns:
            problem = damaged(
                f"{self._folder / SUMMARY}, line 1",
                f"Its columns are not those of such a run, which are: {', '.join(columns)}.",
            )
            raise _to_be_moved(problem, self._folder / SUMMARY)
        return end

    def _cut(self, name: str, rows: Numbered, *, last: int, needed: int, least: int = 0) -> int:
        """Drop all lines after the last one that counts; return how many do."""
        end, found, is_whole = least, 0, True
        try:
            for line, number in rows:
                if number > last:
                    break
                end, is_whole = line.end, line.is_whole
                found += number > 0  # row 0 is the model as it came
        except FileNotFoundError:
            return 0
        except DataError as problem:  # after the lines that count, it is cut off with the rest
            if found < needed:
                raise _to_be_moved(problem, self._folder / name) from problem
        if not is_whole:  # all of it but its end was written: it counts
            self._append(name, "\n")
        elif end < self._size(name):
            self._change(name, lambda file: os.ftruncate(file, end))
        return found

    def _append(self, name: str, text: str) -> OSError | None:
        """Add to a log; text that cannot be written now is written with the next."""
        text = self._unwritten.pop(name, "") + text
        path = self._folder / name
        before = self._size(name)
        try:
            if text:
                # newline: no "\r\n" on Windows, as positions in the file count bytes
                with path.open("a", encoding="utf-8", newline="") as file:
                    file.write(text)
        except OSError as problem:
            self._unwritten[name] = text
            if self._size(name) > before:  # half a line would run into the next
                os.truncate(path, before)
            return problem
        return None

    def _size(self, name: str) -> int:
        """Return the bytes of a log; 0 where there is none."""
        try:
            return (self._folder / name).stat().st_size
        except OSError:  # the next line that is written says what is wrong with it
            return 0

    def _change(self, name: str, change: Callable[[int], None]) -> None:
        """Change an open log, where there is one.

        Raises:
            SaveError: It cannot be done.
        """
        path = self._folder / name
        try:
            with path.open("r+b") as file:
                change(file.fileno())
        except FileNotFoundError:
            return
        except OSError as problem:
            raise SaveError.of(path, problem) from problem


def earlier_notes(folder: Path) -> tuple[str, ...]:
    """Return the notes that a run, or several, gave before they go on.

    Raises:
        DataError: Their file is damaged.
    """
    try:
        return notes_in(folder)
    except DataError as problem:
        raise _to_be_moved(problem, folder / NOTES) from problem


def columns_of(*, phased: bool, searched: bool) -> tuple[str, ...]:
    """Return the columns of summary.csv.

    Args:
        phased: Whether the run is one in SVDNet's phases.
        searched: Whether a search judges it.
    """
    if phased:
        return PHASED_COLUMNS
    return SEARCHED_COLUMNS if searched else SUMMARY_COLUMNS


def _to_be_moved(problem: DataError, path: Path) -> DataError:
    return problem.with_hint(
        f"Bring {path.name} back as it was, or move it away: the run goes on without its contents."
    )
