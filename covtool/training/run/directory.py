"""The folder of a run: its files, and how they are written.

args.yaml                 every setting, written first
recipe.yaml               of the model that is trained
env.json                  versions and device
learning_rates.csv        the points of the range test, where the rate was found by one
images.csv                the images that it was started with
summary.csv               a row per epoch, in timm's columns; with SVDNet's phases, in others
metrics.jsonl             a line per update
notes.jsonl               a line per note
checkpoints/              to resume from: see `covtool.training.run.checkpoints`
exported/                 best.safetensors, last.safetensors: covtool files
result.json               when the run is complete
"""

import errno
import json
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from covtool.atomic import written_whole
from covtool.data.datasets.image_list import write_image_list
from covtool.data.datasets.layout import DataLayout
from covtool.data.datasets.records.shard_index import write_shard_index
from covtool.errors import ArgumentError, CheckpointError, CovtoolError, DataError, reason_of
from covtool.processes import Processes
from covtool.regular_files import require_regular
from covtool.run_files import (
    ARGUMENTS,
    EXPORTED,
    IMAGE_INDEX,
    IMAGE_LIST,
    LOCK,
    METRICS,
    NOTES,
    RATES,
    RECIPE,
    RESULT,
    SPECTRA,
    STATES,
    SUMMARY,
    is_repeats,
    named_runs,
    read_settings,
    require_resumable,
)
from covtool.run_files.learning_rates import RatePoint, rates_text
from covtool.run_files.places import FOLDERS, make_run_folder
from covtool.training.run.checkpoints import CheckpointStore
from covtool.training.run.lock import locked, unusable_place
from covtool.training.run.logs import SUMMARY_COLUMNS, RunLogs
from covtool.training.run.records import EpochRecord, StepRecord

ENVIRONMENT = "env.json"
MODELS = ("best", "last")

_WRITTEN: tuple[tuple[type[CovtoolError], tuple[str, ...]], ...] = (
    (ArgumentError, (ARGUMENTS, RECIPE, ENVIRONMENT, RESULT, LOCK)),
    (DataError, (METRICS, SUMMARY, SPECTRA, NOTES, IMAGE_LIST)),
    (
        CheckpointError,
        (
            *(f"{STATES}/{name}.pt" for name in ("last", "previous", "best")),
            *(f"{EXPORTED}/{name}.safetensors" for name in MODELS),
        ),
    ),
)
"""The files that a run writes, with the error of something else in their place."""


class RunDirectory:
    """A run's folder; `create` makes a new one, `open` takes one to resume."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.checkpoints = CheckpointStore(self.path / STATES)
        self._logs = RunLogs(self.path)

    @classmethod
    def create(
        cls, output: Path, command: str, name: str, *, folders: Sequence[str] = FOLDERS
    ) -> "RunDirectory":
        """Make ``<output>/<command>/<name>``, or ``<name>-2`` and so on where that exists.

        Args:
            output: Folder for runs.
            command: Command that makes the run.
            name: Name of the run.
            folders: Folders in it.

        Raises:
            ArgumentError: The folder cannot be made, or `name` is not a folder's.
        """
        return cls(make_run_folder(Path(output), command, name, folders=folders))

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Return a run to resume.

        Raises:
            ArgumentError: There is no run, or something else in the place of a file of it.
            CheckpointError: The same in the place of a state or of a model.
            DataError: The same in the place of a log.
        """
        if is_repeats(path):
            raise ArgumentError(
                f"{path} is the folder of several runs.",
                reason=f"They are: {named_runs(path)}.",
                hint="In Python, covtool.training.resume_repeats goes on with all of them; on the "
                "command line, --resume does.",
            )
        run = cls(path)
        require_resumable(run.path)
        run._require_files()
        return run

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other processes from writing to the folder; a run that was killed does not.

        Raises:
            ArgumentError: Another process does so now.
        """
        with locked(self.path):
            self.make_folders()
            self._remove_unfinished()
            yield

    def make_folders(self) -> None:
        """Make the folders of states and models that are not there.

        Raises:
            ArgumentError: They cannot be made.
        """
        for folder in (STATES, EXPORTED):
            try:
                (self.path / folder).mkdir(exist_ok=True)
            except OSError as problem:
                raise unusable_place(self.path, folder, problem) from problem

    @property
    def is_started(self) -> bool:
        """Whether the arguments are there that the run can be started from."""
        return (self.path / ARGUMENTS).exists()

    def discard_unstarted(self) -> None:
        """Remove the folder of a run that could not even write down its arguments."""
        if not self.is_started:
            self.discard()

    def discard(self) -> None:
        """Remove the folder of a run that could not even write down what it is."""
        shutil.rmtree(self.path, ignore_errors=True)

    def checkpoint(self, name: str) -> Path:
        """Return the resume state called ``last``, ``previous``, ``best`` or ``epoch-N``."""
        return self.checkpoints.path(name)

    def exported(self, name: str) -> Path:
        """Return the covtool file called ``best`` or ``last``."""
        return self.path / EXPORTED / f"{name}.safetensors"

    def write_yaml(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a mapping to a YAML file."""
        # Names in the order of the options: a user reads this file.
        text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
        self._write_text(name, text)

    def read_yaml(self, name: str) -> dict[str, Any]:
        """Read what `write_yaml` wrote.

        Raises:
            ArgumentError: It is damaged.
        """
        return read_settings(self.path / name)

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a mapping to a JSON file."""
        self._write_text(name, json.dumps(values, indent=2) + "\n")

    def write_images(self, layout: DataLayout, left_out: Collection[Path]) -> None:
        """Write the list of all images, and which of them are not used; an index of tar files."""
        if layout.has_files:
            write_image_list(self.path / IMAGE_LIST, layout, left_out)
        elif layout.kind == "wds":
            write_shard_index(self.path / IMAGE_INDEX, layout)

    def write_rates(self, points: Iterable[RatePoint]) -> None:
        """Write the points of a range test."""
        self._write_text(RATES, rates_text(points))

    def append_step(self, record: StepRecord) -> None:
        """Add a line to metrics.jsonl."""
        self._logs.append_step(record)

    def append_epoch(self, record: EpochRecord) -> None:
        """Add a row to summary.csv."""
        self._logs.append_epoch(record)

    def append_note(self, text: str) -> None:
        """Add a line to notes.jsonl."""
        self._logs.append_note(text)

    def forget_all(self) -> None:
        """Drop the logs of a run that was killed before it was first saved."""
        self._logs.forget_all()

    def forget_after(
        self,
        *,
        epochs: int,
        updates: int,
        skipped: int = 0,
        columns: tuple[str, ...] = SUMMARY_COLUMNS,
    ) -> tuple[str, ...]:
        """Drop what came after a state that is resumed from; see `RunLogs.forget_after`."""
        return self._logs.forget_after(
            epochs=epochs, updates=updates, skipped=skipped, columns=columns
        )

    def sync_logs(self) -> None:
        """Let every line of the logs reach the disk; see `RunLogs.sync`."""
        self._logs.sync()

    def _require_files(self) -> None:
        for error, names in _WRITTEN:
            for path in (self.path / name for name in names):
                try:
                    if path.is_symlink():  # to write through it would change another file
                        raise OSError(errno.ELOOP, "It is a link, not a file")
                    require_regular(path)
                except FileNotFoundError:
                    continue
                except OSError as problem:
                    raise error(
                        f"{path} cannot be used.",
                        reason=reason_of(problem),
                        hint=f"Bring the run's own file back, or move this one away; then go on "
                        f"with: --resume {self.path}",
                    ) from problem

    def _remove_unfinished(self) -> None:
        """Remove files that a killed run was writing; the lock keeps other writers away."""
        for left in self.path.rglob(".*.tmp"):  # names that `covtool.atomic` gives
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                with suppress(OSError):  # another user's: writing it anew says what is wrong
                    left.unlink(missing_ok=True)

    def _write_text(self, name: str, text: str) -> None:
        with written_whole(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


class ReadOnlyRunDirectory(RunDirectory):
    """A run's folder whose logs another process writes; it may not even be on this machine."""

    @contextmanager
    def in_use(self) -> Iterator[None]:
        yield

    def write_yaml(self, name: str, values: Mapping[str, Any]) -> None: ...
    def write_json(self, name: str, values: Mapping[str, Any]) -> None: ...
    def write_images(self, layout: DataLayout, left_out: Collection[Path]) -> None: ...
    def write_rates(self, points: Iterable[RatePoint]) -> None: ...
    def append_step(self, record: StepRecord) -> None: ...
    def append_epoch(self, record: EpochRecord) -> None: ...
    def append_note(self, text: str) -> None: ...
    def forget_all(self) -> None: ...
    def forget_after(
        self,
        *,
        epochs: int,
        updates: int,
        skipped: int = 0,
        columns: tuple[str, ...] = SUMMARY_COLUMNS,
    ) -> tuple[str, ...]:
        return ()

    def make_folders(self) -> None: ...
    def discard(self) -> None: ...
    def sync_logs(self) -> None: ...


def directory_at(path: Path, processes: Processes) -> RunDirectory:
    """Return the folder of a run, to be written to by the first process only."""
    return RunDirectory(path) if processes.is_main else ReadOnlyRunDirectory(path)
