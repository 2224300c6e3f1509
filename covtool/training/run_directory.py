"""The folder of a run: what is in it, and how it gets there.

args.yaml                 every setting, written first
recipe.yaml               of the model that is trained
env.json                  versions and device
images.csv                the images that it was started with
summary.csv               a row per epoch, in timm's columns; with SVDNet's phases, in others
metrics.jsonl             a line per update
checkpoints/              to resume from: see `covtool.training.checkpoint_store`
exported/                 best.safetensors, last.safetensors: covtool files
result.json               when the run is through
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import yaml

from covtool.atomic import require_free, saving, written_whole
from covtool.checkpoints.own_runs import ARGUMENTS, EXPORTED, STATES
from covtool.data.image_list import write_image_list
from covtool.data.layouts import DataLayout
from covtool.errors import ArgumentError, SaveError
from covtool.training.checkpoint_store import CheckpointStore
from covtool.training.observer import EpochRecord, StepRecord
from covtool.training.run_places import make_run_folder, unwritable_run
from covtool.training.validating import COLUMNS

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"
IMAGE_LIST = "images.csv"
METRICS = "metrics.jsonl"
SUMMARY = "summary.csv"
SUMMARY_COLUMNS = ("epoch", "train_loss", "eval_loss", "eval_top1", "eval_top5", "lr", "head")
PHASED_COLUMNS = (
    *("epoch", "phase", "train_loss"),
    *("eval_rank1", "eval_rank5", "eval_rank10", "eval_rank20", "eval_mAP", "eval_mINP"),
    *("eval_r_precision", "eval_mAP_at_R", "correlation", "smallest_eigenvalue_ratio"),
    *("lr", "head"),
)


class RunDirectory:
    """A run's folder; `create` makes a new one, `open` takes one to resume."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.checkpoints = CheckpointStore(self.path / STATES)
        self._unwritten: dict[str, str] = {}

    @classmethod
    def create(cls, output: Path, command: str, name: str) -> "RunDirectory":
        """Make ``<output>/<command>/<name>``, or ``<name>-2`` and so on where that exists.

        Raises:
            ArgumentError: The folder cannot be made, or `name` is no folder's.
        """
        return cls(make_run_folder(Path(output), command, name))

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """A run to resume.

        Raises:
            ArgumentError: There is no run.
        """
        run = cls(path)
        needed = run.path / ARGUMENTS
        if not needed.is_file():
            raise ArgumentError(
                f"{path} is not a run that can be resumed.",
                reason=f"{needed} is missing.",
                hint="Give the folder that holds args.yaml, as printed when the run started.",
            )
        return run

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep other processes from writing to the folder; a killed run keeps nobody.

        Raises:
            ArgumentError: Another process does so now.
        """
        with self._open_lock() as file:
            if fcntl is not None:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except (BlockingIOError, PermissionError) as problem:
                    raise ArgumentError(
                        f"The run in {self.path} is under way in another process.",
                        hint="Wait for it, or end it first.",
                    ) from problem
                except OSError:  # a file system without locks
                    pass
            for name in (METRICS, SUMMARY):  # added to below, and a pipe would be waited for
                require_free(self.path / name, overwrite=True)
            self._remove_unfinished()
            yield

    def discard(self) -> None:
        """Remove the folder of a run that could not even write down what it is."""
        shutil.rmtree(self.path, ignore_errors=True)

    def checkpoint(self, name: str) -> Path:
        """The resume state called ``last``, ``previous``, ``best`` or ``epoch-N``."""
        return self.checkpoints.path(name)

    def exported(self, name: str) -> Path:
        """The covtool file called ``best`` or ``last``."""
        return self.path / EXPORTED / f"{name}.safetensors"

    def write_yaml(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a mapping to a YAML file."""
        text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
        self._write_text(name, text)

    def read_yaml(self, name: str) -> dict[str, Any]:
        """Read what `write_yaml` wrote.

        Raises:
            ArgumentError: It is damaged.
        """
        try:
            values = yaml.safe_load((self.path / name).read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as problem:
            raise ArgumentError(
                f"{self.path / name} cannot be read.", reason=str(problem)
            ) from problem
        if not isinstance(values, dict):
            raise ArgumentError(f"{self.path / name} does not hold names and values.")
        return values

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a mapping to a JSON file."""
        self._write_text(name, json.dumps(values, indent=2) + "\n")

    def write_images(self, layout: DataLayout, left_out: Collection[Path]) -> None:
        """Write the list of all images, and which of them are not used; of images in files."""
        if layout.has_files:
            write_image_list(self.path / IMAGE_LIST, layout, left_out)

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
        columns = SUMMARY_COLUMNS
        if (phase := record.phase) is not None:
            columns, measured = PHASED_COLUMNS, asdict(phase)
            row |= {"phase": measured.pop("name"), **measured}
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        if not (self.path / SUMMARY).exists() and SUMMARY not in self._unwritten:
            writer.writeheader()
        writer.writerow(row)
        self._append(SUMMARY, text.getvalue())

    def forget_all(self) -> None:
        """Drop the rows and lines of a run that was killed before it was first saved."""
        for name in (METRICS, SUMMARY):
            with saving(self.path / name):
                (self.path / name).unlink(missing_ok=True)

    def forget_after(self, *, epochs: int, updates: int) -> None:
        """Drop the rows and lines of what came after a state that is resumed from."""
        self._keep_lines(METRICS, lambda line: json.loads(line)["update"] <= updates)
        self._keep_lines(
            SUMMARY, lambda line: line.startswith("epoch") or int(line.split(",")[0]) < epochs
        )

    def sync_logs(self) -> None:
        """Let every line reach the disk, those of times when it was full as well.

        Raises:
            SaveError: It is still full.
        """
        for name in (METRICS, SUMMARY):
            path = self.path / name
            if (problem := self._append(name, "")) is not None:
                raise SaveError.of(path, problem) from problem
            if path.exists():
                with saving(path), path.open("a") as file:
                    os.fsync(file.fileno())

    def _append(self, name: str, text: str) -> OSError | None:
        """Add to a log; what cannot be written now is written with what comes next."""
        text = self._unwritten.pop(name, "") + text
        path = self.path / name
        before = 0
        try:
            before = path.stat().st_size if path.exists() else 0
            if text:
                with path.open("a", encoding="utf-8", newline="") as file:
                    file.write(text)
        except OSError as problem:
            self._unwritten[name] = text
            with suppress(OSError):  # where nothing can be written at all, nothing was
                os.truncate(path, before)
            return problem
        return None

    def _open_lock(self) -> IO[str]:
        path = self.path / LOCK
        require_free(path, overwrite=True)  # a pipe in its place would be waited for
        try:
            return path.open("a")
        except OSError as problem:
            raise unwritable_run(self.path, problem) from problem

    def _remove_unfinished(self) -> None:
        """Remove what a killed run was writing; nobody else writes here now."""
        for left in self.path.rglob(".*.tmp"):
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                with suppress(OSError):
                    left.unlink()

    def _write_text(self, name: str, text: str) -> None:
        with written_whole(self.path / name) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def _keep_lines(self, name: str, wanted: Callable[[str], bool]) -> None:
        path = self.path / name
        if not path.exists():
            return
        kept = io.StringIO()
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n") and wanted(line):  # a killed run may leave half a line
                kept.write(line)
        self._write_text(name, kept.getvalue())
