"""The folder of a run: what is in it, and how it gets there.

args.yaml                 every setting, written first
recipe.yaml               of the model that is trained
env.json                  versions and device
summary.csv               a row per epoch, in timm's columns
metrics.jsonl             a line per update
checkpoints/              last.pt, best.pt, epoch-N.pt: to resume from
exported/                 best.safetensors, last.safetensors: covtool files
result.json               when the run is through
"""

import csv
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml

from covtool.atomic import written_whole
from covtool.errors import ArgumentError
from covtool.training.observer import EpochRecord, StepRecord

ARGUMENTS = "args.yaml"
SUMMARY_COLUMNS = ("epoch", "train_loss", "eval_loss", "eval_top1", "eval_top5", "lr", "head")


class RunDirectory:
    """A run's folder; `create` makes a new one, `open` takes one to resume."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, output: Path, command: str, name: str) -> "RunDirectory":
        """Make ``<output>/<command>/<name>``, or ``<name>-2`` and so on where that exists.

        Raises:
            ArgumentError: The folder cannot be made.
        """
        parent = Path(output) / command
        try:
            parent.mkdir(parents=True, exist_ok=True)
            path = _first_free(parent, name)
            for folder in ("checkpoints", "exported"):
                (path / folder).mkdir()
        except OSError as problem:
            raise ArgumentError(
                f"The run cannot be written to {parent}.", reason=str(problem)
            ) from problem
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """A run to resume.

        Raises:
            ArgumentError: There is no run, or nothing to resume from.
        """
        run = cls(path)
        for needed in (run.path / ARGUMENTS, run.checkpoint("last")):
            if not needed.is_file():
                raise ArgumentError(
                    f"{path} is not a run that can be resumed.",
                    reason=f"{needed} is missing.",
                    hint="Give the folder that holds args.yaml, as printed when the run started.",
                )
        return run

    def checkpoint(self, name: str) -> Path:
        """The resume state called ``last``, ``best`` or ``epoch-N``."""
        return self.path / "checkpoints" / f"{name}.pt"

    def exported(self, name: str) -> Path:
        """The covtool file called ``best`` or ``last``."""
        return self.path / "exported" / f"{name}.safetensors"

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

    def append_step(self, record: StepRecord) -> None:
        """Add a line to metrics.jsonl."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(record)) + "\n")

    def append_epoch(self, record: EpochRecord) -> None:
        """Add a row to summary.csv; epochs count from 0 there, as timm's do."""
        row = {
            "epoch": record.epoch - 1,
            "train_loss": record.train_loss,
            "eval_loss": record.eval_loss,
            "eval_top1": record.top_1,
            "eval_top5": record.top_5,
            "lr": record.lr,
            "head": record.head,
        }
        path = self.path / "summary.csv"
        fresh = not path.exists()
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, SUMMARY_COLUMNS)
            if fresh:
                writer.writeheader()
            writer.writerow(row)

    def forget_after(self, *, epochs: int, updates: int) -> None:
        """Drop the rows and lines of what came after a state that is resumed from."""
        self._keep_lines("metrics.jsonl", lambda line: json.loads(line)["update"] <= updates)
        self._keep_lines(
            "summary.csv", lambda line: line.startswith("epoch") or int(line.split(",")[0]) < epochs
        )

    def save_state(self, payload: Mapping[str, Any], also_as: Iterable[str] = ()) -> None:
        """Write last.pt, and the same under other names."""
        last = self.checkpoint("last")
        with written_whole(last) as temporary:
            torch.save(dict(payload), temporary)
        for name in also_as:
            with written_whole(self.checkpoint(name)) as temporary:
                _link(last, temporary)

    def keep_epochs(self, epochs: Iterable[int]) -> None:
        """Remove every epoch-N.pt but those of `epochs`, counted from 1."""
        wanted = {self.checkpoint(f"epoch-{epoch}") for epoch in epochs}
        for path in (self.path / "checkpoints").glob("epoch-*.pt"):
            if path not in wanted:
                path.unlink()

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


def _first_free(parent: Path, name: str) -> Path:
    number = 1
    while True:
        path = parent / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def _link(source: Path, target: Path) -> None:
    """A second name for the same content, or a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
