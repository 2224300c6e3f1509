"""What came of several runs: the figures of each, their means and their deviations."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from covtool.ops.t_intervals import Spread, spread_of
from covtool.run_files import (
    IMAGE_LIST,
    PREDICTIONS,
    FinalFigures,
    final_figures,
    notes_on_doubts,
)
from covtool.training.repeats.directory import RepeatsDirectory
from covtool.training.repeats.plan import Repeat
from covtool.training.repeats.rows import join_rows

MEAN, DEVIATION = "mean", "std"
"""Names of the last rows of summary.csv."""

_WORDS = {True: "yes", False: "no", None: None}  # nothing where an older run does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatsResult:
    """What came of several runs.

    Attributes:
        directory: Folder of them all.
        metric: Metric that the best epochs are best in, in timm's word.
        runs: Final figures of each, in the order of seeds and folds.
        figures: Mean and standard deviation over the runs, by the names of the figures: ``best_``
            or ``last_`` with a column of summary.csv. One that not every run has is left out.
        seconds: Time for training and evaluation of all.
        predictions: File of what the images were taken for, or found for them; None without folds.
        notes: What the runs have noted, each sentence once, and what should be known about their
            figures.
    """

    directory: Path
    metric: str
    runs: tuple[FinalFigures, ...]
    figures: dict[str, Spread]
    seconds: float
    predictions: Path | None
    notes: tuple[str, ...] = ()


def write_outcome(
    directory: RepeatsDirectory, repeats: Sequence[Repeat], notes: Sequence[str]
) -> RepeatsResult:
    """Write the files about all runs, which are complete, the result last.

    Args:
        directory: Folder of the runs.
        repeats: The runs.
        notes: What they have noted.

    Raises:
        DataError: A file of a run is damaged.
        SaveError: A file cannot be written.
    """
    runs = write_summary(directory, repeats)
    files = [directory.run(repeat.name) / PREDICTIONS for repeat in repeats]
    predictions = None
    if all(file.exists() for file in files):
        predictions = directory.path / PREDICTIONS
        join_rows(files, predictions)
    result = RepeatsResult(
        directory=directory.path,
        metric=runs[0].metric,
        runs=runs,
        figures=_spreads(runs),
        seconds=sum(run.seconds for run in runs),
        predictions=predictions,
        notes=(*notes, *doubts_in(runs)),
    )
    directory.write_result(_plain(asdict(result)))
    return result


def write_summary(
    directory: RepeatsDirectory, repeats: Sequence[Repeat]
) -> tuple[FinalFigures, ...]:
    """Write summary.csv of runs that are complete, and return their figures.

    Raises:
        DataError: A file of a run is damaged.
        SaveError: It cannot be written.
    """
    runs = finals_of(directory, repeats)
    spreads = _spreads(runs)
    rows: list[dict[str, object]] = [
        {
            "run": run.run.name,
            "seed": run.seed,
            "fold": run.fold,
            "best_epoch": run.best_epoch,
            "epochs": run.epochs,
            "is_chance": _WORDS[run.is_chance],
            "stopped_early": _WORDS[run.stopped_early],
            **run.figures,
        }
        for run in runs
    ]
    for name, part in ((MEAN, "mean"), (DEVIATION, "deviation")):
        rows.append({"run": name, **{key: getattr(s, part) for key, s in spreads.items()}})
    directory.write_summary(rows)
    return runs


def finals_of(directory: RepeatsDirectory, repeats: Sequence[Repeat]) -> tuple[FinalFigures, ...]:
    """Return the final figures of runs that are complete.

    Raises:
        DataError: A file of a run is damaged.
    """
    return tuple(final_figures(directory.run(repeat.name)) for repeat in repeats)


def differ_in_images(runs: Sequence[FinalFigures]) -> bool:
    """Return whether runs that should have had the same images had others."""
    lists: dict[int | None, set[bytes]] = {}
    for run in runs:
        file = run.run / IMAGE_LIST
        if file.exists():  # none of images that are no files
            with file.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").digest()
            lists.setdefault(run.fold, set()).add(digest)
    return any(len(several) > 1 for several in lists.values())


def doubts_in(runs: Sequence[FinalFigures]) -> tuple[str, ...]:
    """Return sentences on runs that are no better than a guess, and on those that ended early."""
    return notes_on_doubts(
        len(runs),
        guesses=[run.run.name for run in runs if run.is_chance],
        early=[run.run.name for run in runs if run.stopped_early],
    )


def _spreads(runs: Sequence[FinalFigures]) -> dict[str, Spread]:
    shared = [name for name in runs[0].figures if all(name in run.figures for run in runs)]
    return {name: spread_of([run.figures[name] for run in runs]) for name in shared}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
