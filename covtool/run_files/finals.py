"""The final figures of a run: those of its best epoch and of its last one."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from covtool.documents import parse_json
from covtool.errors import DataError, reason_of
from covtool.printable import first_few
from covtool.regular_files import MEBIBYTE, read_text
from covtool.run_files.logs import EpochRow, epoch_rows
from covtool.run_files.names import ARGUMENTS, RESULT, SUMMARY
from covtool.run_files.settings import read_settings

LARGEST_RESULT = MEBIBYTE
"""Bytes of result.json; a run's own have a few hundred."""

GUESS = "no better than a guess"
"""What is said of a best epoch that is one: it is only the least bad."""
EARLY = "ended early"
"""What is said of a run that ended before its last epoch."""

_NAMED = 5  # runs that a sentence names

_MEASURED = ("train_loss", "eval_")
"""Beginnings of the columns that are figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalFigures:
    """What came of a run.

    Attributes:
        run: Its folder.
        seed: Seed of its random numbers; None where its settings do not say.
        fold: The fold that it holds out; None for a run without folds.
        folds: Number of folds; None without.
        metric: Metric that its best epoch is best in, in timm's word.
        best_epoch: The best epoch, counted from 1.
        epochs: Epochs trained in all.
        seconds: Time for training and evaluation.
        figures: ``best_`` and ``last_`` with each measured column of summary.csv, in percent, or in
            nats for a loss.
        is_chance: Whether even the best epoch is no better than a guess; None where an older run
            does not say.
        stopped_early: Whether it ended before its last epoch; None where an older run does not say.
    """

    run: Path
    seed: int | None
    fold: int | None
    folds: int | None
    metric: str
    best_epoch: int
    epochs: int
    seconds: float
    figures: dict[str, float]
    is_chance: bool | None = None
    stopped_early: bool | None = None


def final_figures(run: Path) -> FinalFigures:
    """Return the final figures of a run that is complete.

    Raises:
        DataError: It is not complete, or a file of it is damaged.
        ArgumentError: Its settings are.
    """
    result = _result(run)
    settings = read_settings(run / ARGUMENTS)
    rows = {row.epoch + 1: row for row in _rows(run)}
    figures: dict[str, float] = {}
    for which, epoch in (("best", result["best_epoch"]), ("last", result["epochs"])):
        if epoch not in rows:
            raise _damaged(run / SUMMARY, f"It lacks epoch {epoch}, the {which} one")
        figures |= {f"{which}_{name}": value for name, value in _measured(rows[epoch]).items()}
    return FinalFigures(
        run=run,
        seed=_whole(settings.get("seed")),
        fold=_whole(settings.get("fold")),
        folds=_whole(settings.get("folds")),
        metric=str(result["metric"]),
        best_epoch=result["best_epoch"],
        epochs=result["epochs"],
        seconds=float(result["seconds"]),
        figures=figures,
        is_chance=result.get("is_chance"),
        stopped_early=result.get("stopped_early"),
    )


def doubts_of(*, is_chance: bool | None, stopped_early: bool | None) -> str:
    """Return what the figures of a run need beside them, in a few words; mostly nothing."""
    return ", ".join([GUESS] * (is_chance is True) + [EARLY] * (stopped_early is True))


def notes_on_doubts(
    count: int, *, guesses: Sequence[object], early: Sequence[object]
) -> tuple[str, ...]:
    """Return sentences on runs whose best or last figures are not what they seem.

    Args:
        count: Number of all runs.
        guesses: Names of the runs whose best epoch is no better than a guess.
        early: Names of the runs that ended before their last epoch.
    """
    notes = []
    if guesses:
        mean = "" if count == 1 else ", and any mean over the runs is over it as well"
        notes.append(
            f"Even the best epoch of {_of(guesses, count)} is {GUESS}: it is only the least bad"
            f"{mean}."
        )
    if early:
        notes.append(f"{_of(early, count, starts=True)} ended early, before the last epoch.")
    return tuple(notes)


def notes_on_run(run: Path) -> tuple[str, ...]:
    """Return sentences on why the best or last epoch of a run may not be what it seems.

    Raises:
        DataError: Its result is damaged.
    """
    if not (run / RESULT).exists():
        return (
            f"The run {run} is not complete: its last epoch is the last so far, and a better one "
            "may come.",
        )
    result = _result(run)
    guesses, early = (
        [run] if result.get(name) is True else [] for name in ("is_chance", "stopped_early")
    )
    return notes_on_doubts(1, guesses=guesses, early=early)


def _of(names: Sequence[object], count: int, *, starts: bool = False) -> str:
    if count == 1:
        return f"{'The' if starts else 'the'} run {names[0]}"
    return f"{len(names)} of {count} runs ({first_few(names, _NAMED)})"


def _result(run: Path) -> dict[str, Any]:
    path = run / RESULT
    try:
        values = parse_json(read_text(path, at_most=LARGEST_RESULT))
    except FileNotFoundError as problem:
        raise DataError(
            f"The run in {run} is not complete.",
            reason=f"It has no {RESULT}, which is written at its end.",
            hint=f"Go on with: covtool finetune --resume {run}",
        ) from problem
    except (OSError, ValueError) as problem:
        raise _damaged(path, reason_of(problem).rstrip(".")) from problem
    kinds = {"best_epoch": int, "epochs": int, "seconds": int | float, "metric": str}
    if not isinstance(values, dict):
        raise _damaged(path, "It does not hold names and values")
    for name, kind in kinds.items():
        if not isinstance(values.get(name), kind) or isinstance(values[name], bool):
            raise _damaged(path, f"Its {name} is missing, or not what a run writes")
    for name in ("is_chance", "stopped_early"):  # which older runs do not have
        if not isinstance(values.get(name), bool | None):
            raise _damaged(path, f"Its {name} is neither true nor false")
    return values


def _rows(run: Path) -> list[EpochRow]:
    try:
        return list(epoch_rows(run))
    except FileNotFoundError as problem:
        raise _damaged(run / SUMMARY, "It is missing") from problem


def _measured(row: EpochRow) -> dict[str, float]:
    found = {}
    for name, cell in row.cells.items():
        if not name.startswith(_MEASURED):
            continue
        try:
            value = float(cell)
        except ValueError:  # empty: not measured in this epoch
            continue
        if isfinite(value):
            found[name] = value
    return found


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} cannot be used.",
        reason=f"{reason}.",
        hint="The run wrote it: bring it back as it was.",
    )
