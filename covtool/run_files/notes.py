"""The notes of a run, or of several: what a user should know about it, a sentence a line.

They are written as they are given, so that a run that is killed, or not complete, has them too.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from covtool.documents import parse_json
from covtool.run_files.logs import Line, damaged, lines
from covtool.run_files.names import NOTES

MOST_NOTES = 100_000
"""Lines of notes.jsonl; a run writes far fewer, as their bytes are limited."""


@dataclass(frozen=True, slots=True)
class NoteRow:
    """A line of notes.jsonl.

    Attributes:
        line: Line that it was read from.
        text: The note.
    """

    line: Line
    text: str


def note_line(text: str) -> str:
    """Return the line of notes.jsonl that holds a note."""
    return json.dumps({"note": text}) + "\n"


def note_rows(run: Path) -> Iterator[NoteRow]:
    """Yield the lines of notes.jsonl.

    Raises:
        DataError: A line is damaged, or the file cannot be read.
        FileNotFoundError: There is none.
    """
    for line in lines(run / NOTES, at_most=MOST_NOTES):
        try:
            row = parse_json(line.text)
        except ValueError as problem:
            if line.is_whole:  # else the run is writing it, or was killed while it did
                raise damaged(line.where, str(problem)) from problem
            return
        if not isinstance(row, dict) or not isinstance(row.get("note"), str):
            raise damaged(line.where, "It is not a note.")
        yield NoteRow(line, row["note"])


def notes_in(run: Path) -> tuple[str, ...]:
    """Return the notes of a run, or of several; none where it has no file of them.

    Raises:
        DataError: A line is damaged, or the file cannot be read.
    """
    with suppress(FileNotFoundError):
        return tuple(dict.fromkeys(row.text for row in note_rows(run)))
    return ()
