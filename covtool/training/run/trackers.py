"""Trackers that `--log` names: a run's curves go to them as well, a row of a table for each."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from covtool.errors import ArgumentError, reason_of
from covtool.registry import Registry
from covtool.specs import TrainingSpec
from covtool.training.run.curves import epoch_curves, step_curves
from covtool.training.run.observer import Observer, Observers, SilentObserver, TrainingPlan
from covtool.training.run.records import EpochRecord, StepRecord

PROJECT = "covtool"
"""Project of Weights & Biases, and experiment of MLflow, unless their own variables name others."""


class Sink(Protocol):
    """A run of a tracker that takes points."""

    def write(self, values: Mapping[str, float], update: int) -> None:
        """Take the values of curves at an update."""

    def close(self) -> None:
        """Take note that no more come."""


@dataclass(frozen=True, slots=True)
class TrackerRow:
    """A tracker.

    Attributes:
        name: Name for ``--log``.
        summary: What it is.
        source: Package that it takes.
        open: Function of the run's folder, and of the tracker's own name of the run, empty for a
            new one, that returns that name and where the points go.
    """

    name: str
    summary: str
    source: str
    open: Callable[[Path, str], tuple[str, Sink]]


class _WandbRun:
    def __init__(self, run: Any) -> None:
        self._run = run

    def write(self, values: Mapping[str, float], update: int) -> None:
        # Not as wandb's step, which cannot go back to where a run is resumed from.
        self._run.log({**values, "update": update})

    def close(self) -> None:
        self._run.finish()


def _open_wandb(directory: Path, name: str) -> tuple[str, Sink]:
    import os

    import wandb

    name = name or uuid4().hex[:8]
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=directory.name,
        id=name,
        resume="allow",
        dir=str(directory),
        settings=wandb.Settings(console="off", silent=True, save_code=False, disable_git=True),
    )
    run.define_metric("*", step_metric="update")
    return name, _WandbRun(run)


class _MlflowRun:
    def __init__(self, client: Any, name: str) -> None:
        self._client, self._name = client, name

    def write(self, values: Mapping[str, float], update: int) -> None:
        for curve, value in values.items():
            self._client.log_metric(self._name, curve, value, step=update)

    def close(self) -> None:
        self._client.set_terminated(self._name)


def _open_mlflow(directory: Path, name: str) -> tuple[str, Sink]:
    import os

    from mlflow.tracking import MlflowClient

    # MLflow calls its files old and wants a database, unless they are asked for.
    if "MLFLOW_TRACKING_URI" not in os.environ:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", (directory / "mlruns").as_uri()))
    if name:
        client.update_run(name, status="RUNNING")
        return name, _MlflowRun(client, name)
    title = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    experiment = client.get_experiment_by_name(title)
    number = experiment.experiment_id if experiment else client.create_experiment(title)
    name = client.create_run(number, run_name=directory.name).info.run_id
    return name, _MlflowRun(client, name)


TRACKERS = Registry(
    "tracker",
    (
        TrackerRow("wandb", "Weights & Biases", "wandb", _open_wandb),
        TrackerRow("mlflow", "MLflow", "mlflow", _open_mlflow),
    ),
)


def refuse_without_trackers(training: TrainingSpec) -> None:
    """Check that all trackers are known, and their packages there.

    Raises:
        ArgumentError: A package is not installed.
        UnknownVariantError: There is no such tracker.
    """
    for name in training.log:
        if find_spec(TRACKERS[name].source) is None:
            raise ArgumentError(
                f"--log {name} needs the package {TRACKERS[name].source}, which is not installed.",
                hint=f"Install it: pip install 'covtool[{name}]'.",
            )


def with_trackers(observer: Observer, training: TrainingSpec) -> Observer:
    """Return the observer, and the trackers that are asked for beside it."""
    rows = [TRACKERS[name] for name in dict.fromkeys(training.log)]
    return Observers(observer, *(Tracker(row, observer.on_note) for row in rows))


class Tracker(SilentObserver):
    """Sends curves to a tracker; one that fails is a note, and the run goes on without it.

    A run that is resumed goes on in the tracker's same run, whose name is kept in the folder.
    Points after the state that it is resumed from are there twice.

    Args:
        row: The tracker.
        note: Receiver of that note.
    """

    def __init__(self, row: TrackerRow, note: Callable[[str], None]) -> None:
        self._row, self._note = row, note
        self._sink: Sink | None = None
        self._updates = 0

    def on_start(self, plan: TrainingPlan) -> None:
        self._updates = plan.first_update - 1
        kept = plan.directory / f"{self._row.name}.run"
        before = ""
        with suppress(OSError, UnicodeDecodeError):
            before = kept.read_text(encoding="utf-8").strip()
        with self._giving_up():
            name, self._sink = self._row.open(plan.directory, before)
            kept.write_text(f"{name}\n", encoding="utf-8")

    def on_step(self, record: StepRecord) -> None:
        self._updates = record.update
        self._write(step_curves(record))

    def on_epoch(self, record: EpochRecord) -> None:
        self._write(epoch_curves(record))

    def on_end(self) -> None:
        with self._giving_up():
            if self._sink is not None:
                self._sink.close()

    def _write(self, values: Mapping[str, float]) -> None:
        with self._giving_up():
            if self._sink is not None and values:
                self._sink.write(values, self._updates)

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except Exception as problem:  # whatever a tracker raises is no reason to end a run
            self._sink = None
            self._note(
                f"Nothing more goes to {self._row.summary} (--log {self._row.name}): "
                f"{reason_of(problem)}"
            )
