"""The folder of several runs, and how its files are written.

repeats.yaml              every setting, with the numbers of seeds and folds
folds.csv                 the fold of each image, with --folds; written first
fold-1/, seed-42/, ...    the runs, each as `covtool.training.run.directory` has it
predictions.csv           what each image was taken for while it was held out
notes.jsonl               a line per note on the runs
summary.csv               a row per run with its final figures, then their mean and deviation
result.json               when all runs are complete
"""

import csv
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from covtool.atomic import written_whole
from covtool.data.datasets.folding import FoldedData
from covtool.errors import ArgumentError, reason_of
from covtool.run_files import (
    ARGUMENTS,
    FOLDS,
    PREDICTIONS,
    REPEATS,
    RESULT,
    SUMMARY,
    is_repeats,
    read_settings,
    runs_in,
)
from covtool.run_files.places import make_run_folder
from covtool.training.run.lock import locked
from covtool.training.run.logs import RunLogs

_OF_ALL = (RESULT, SUMMARY, PREDICTIONS)
"""Files that say what came of all runs together."""


class RepeatsDirectory:
    """The folder of several runs; `create` makes a new one, `open` takes one to go on with."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._logs = RunLogs(self.path)

    @classmethod
    def create(cls, output: Path, command: str, name: str) -> "RepeatsDirectory":
        """Make ``<output>/<command>/<name>``, or ``<name>-2`` and so on where that exists.

        Raises:
            ArgumentError: The folder cannot be made, or `name` is not a folder's.
        """
        return cls(make_run_folder(Path(output), command, name, folders=()))

    @classmethod
    def open(cls, path: Path) -> "RepeatsDirectory":
        """Return the folder of several runs.

        Raises:
            ArgumentError: It is none.
        """
        if not is_repeats(path):
            raise ArgumentError(
                f"{path} is not a folder of several runs.",
                reason=f"{Path(path) / REPEATS} is missing.",
                hint=f"Give the folder that holds {REPEATS}, as printed when they were started.",
            )
        return cls(path)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other processes from going on with the same runs.

        Raises:
            ArgumentError: Another process does so now.
        """
        with locked(self.path):
            for left in self.path.glob(".*.tmp"):  # names that `covtool.atomic` gives
                shutil.rmtree(left, ignore_errors=True)
            yield

    def describe(self, arguments: Mapping[str, Any], folded: FoldedData | None) -> None:
        """Write the folds, then the settings: where those are, the runs can be gone on with.

        Raises:
            SaveError: They cannot be written.
        """
        if folded is not None:
            folded.write(self.path / FOLDS)
        self.write_arguments(arguments)

    def write_arguments(self, arguments: Mapping[str, Any]) -> None:
        """Write the settings of all runs."""
        text = yaml.safe_dump(dict(arguments), sort_keys=False, allow_unicode=True)
        with written_whole(self.path / REPEATS) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def read_arguments(self) -> dict[str, Any]:
        """Return the settings of all runs.

        Raises:
            ArgumentError: They are damaged.
        """
        return read_settings(self.path / REPEATS)

    def run(self, name: str) -> Path:
        """Return the folder of a run."""
        return self.path / name

    def is_started(self, name: str) -> bool:
        """Whether a run can be gone on with; else it is to be started."""
        return (self.run(name) / ARGUMENTS).exists()

    def make_run(self, name: str) -> None:
        """Make the folder of a run, whatever of it a killed process has left.

        Raises:
            ArgumentError: It cannot be made.
        """
        try:
            self.run(name).mkdir(exist_ok=True)
        except OSError as problem:
            raise ArgumentError(
                f"{self.run(name)} cannot be made.",
                reason=reason_of(problem),
                hint=f"Make room there; then go on with: --resume {self.path}",
            ) from problem

    def discard_unstarted(self, name: str) -> None:
        """Remove the folder of a run that did not come to its settings."""
        if not self.is_started(name):
            shutil.rmtree(self.run(name), ignore_errors=True)

    def discard_empty(self) -> None:
        """Remove the folder, if no run in it was started."""
        if not runs_in(self.path):
            shutil.rmtree(self.path, ignore_errors=True)

    def forget_outcome(self) -> None:
        """Remove what was written about all runs together, before one of them goes on."""
        for name in _OF_ALL:
            with suppress(FileNotFoundError):
                (self.path / name).unlink()

    def append_note(self, text: str) -> None:
        """Add a line to notes.jsonl."""
        self._logs.append_note(text)

    def cut_notes(self) -> None:
        """Drop the half of a note that was being written; see `RunLogs.cut_notes`."""
        self._logs.cut_notes()

    def write_summary(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Write summary.csv, whose columns are those of the first row and what others add."""
        columns = list(dict.fromkeys(name for row in rows for name in row))
        with (
            written_whole(self.path / SUMMARY) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as out,
        ):
            writer = csv.DictWriter(out, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    def write_result(self, values: Mapping[str, Any]) -> None:
        """Write result.json."""
        with written_whole(self.path / RESULT) as temporary:
            temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
