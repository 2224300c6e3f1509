"""The folder of a run as the processes see it that do not write: the first one does."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from covtool.data.datasets.layout import DataLayout
from covtool.processes import Processes
from covtool.training.run.directory import RunDirectory
from covtool.training.run.observer import EpochRecord, Observer, SilentObserver, StepRecord


def directory_at(path: Path, processes: Processes) -> RunDirectory:
    """Return the folder of a run, to be written to by the first process only."""
    return RunDirectory(path) if processes.is_main else ReadOnlyRunDirectory(path)


def observer_for(observer: Observer | None, processes: Processes) -> Observer:
    """Return the observer of the first process; nobody is told by the others."""
    return observer if observer is not None and processes.is_main else SilentObserver()


class ReadOnlyRunDirectory(RunDirectory):
    """A run's folder whose logs another process writes; it may not even be on this machine."""

    @contextmanager
    def in_use(self) -> Iterator[None]:
        yield

    def write_yaml(self, name: str, values: Mapping[str, Any]) -> None: ...
    def write_json(self, name: str, values: Mapping[str, Any]) -> None: ...
    def write_images(self, layout: DataLayout, left_out: Collection[Path]) -> None: ...
    def append_step(self, record: StepRecord) -> None: ...
    def append_epoch(self, record: EpochRecord) -> None: ...
    def forget_all(self) -> None: ...
    def forget_after(
        self, *, epochs: int, updates: int, skipped: int = 0, phased: bool = False
    ) -> tuple[str, ...]:
        return ()

    def make_folders(self) -> None: ...
    def discard(self) -> None: ...
    def sync_logs(self) -> None: ...
