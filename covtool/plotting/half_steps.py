"""The half-steps of SVDNet's training (RRI), read back from a run's log of its epochs.

A phase that is over is a half-step: the start, step 0 (base), each restraint and each relaxation.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from covtool.errors import DataError
from covtool.plotting.number_columns import LARGEST_DRAWN
from covtool.plotting.run_history import cell_value, no_run, rows_of_epochs
from covtool.printable import printable
from covtool.run_files import ARGUMENTS, SUMMARY
from covtool.run_files.logs import damaged

RESTRAINT = "restraint"
_PHASES = ("start", "base", RESTRAINT, "relaxation")
"""Phases in the order that they have within an iteration; the first two are in none."""
_PHASE = re.compile(r"(start|base)|(restraint|relaxation) ([1-9]\d{0,6})")

MOST_HALF_STEPS = 2_000
"""Most half-steps in a picture: more are no wider than a pixel."""

Row = tuple[str, dict[str, Any]]
"""The place of a row, for messages, and its values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfStep:
    """The figures of a model when a phase is over.

    Attributes:
        phase: ``start`` (as the model came), ``base``, ``restraint 1``, ``relaxation 1``, ...
        epochs: Epochs done by then, those of earlier phases included.
        train_loss: Loss of the phase's last epoch; None at the start, or where it is not finite.
        correlation: S(W) of the Eigenlayer, from 1/k to 1 for orthogonal weight vectors.
        smallest_eigenvalue_ratio: Smallest eigenvalue of its Gram matrix, over the smallest
            diagonal element; 0 to 1.
        rank_1: Percent; Recall@1 where no cameras are known.
        rank_5: Percent; None where the run has none.
        mean_average_precision: mAP in percent.
        mean_inverse_penalty: mINP in percent; None where the run has none.
    """

    phase: str
    epochs: int
    train_loss: float | None
    correlation: float
    smallest_eigenvalue_ratio: float
    rank_1: float
    rank_5: float | None
    mean_average_precision: float
    mean_inverse_penalty: float | None


def phase_order(phase: str) -> tuple[int, int]:
    """Return the iteration of a phase, 0 before the first, and its place there.

    Raises:
        ValueError: There is no such phase.

    Example:
        >>> sorted(["relaxation 1", "restraint 2", "restraint 1", "base"], key=phase_order)
        ['base', 'restraint 1', 'relaxation 1', 'restraint 2']
    """
    found = _PHASE.fullmatch(phase)
    if found is None:
        raise ValueError(f"There is no phase {phase!r}.")
    before, name, iteration = found.groups()
    return int(iteration or 0), _PHASES.index(before or name)


def read_half_steps(run: Path) -> tuple[HalfStep, ...]:
    """Return the half-steps of a run in order.

    A run that is still going or was killed has those of the phases that are over.

    Args:
        run: Folder of a run of ``covtool svdnet-rri``.

    Raises:
        DataError: The folder is no such run, no half-step is over yet, or a line is damaged.
    """
    if run.is_file():
        raise no_run(run, SUMMARY)
    rows = [
        (row.line.where, {name: cell_value(cell) for name, cell in row.cells.items()})
        for row in rows_of_epochs(run)
    ]
    # A run in its first phase has no rows, but its settings: it is no wrong folder.
    if not rows and not ((run / SUMMARY).exists() or (run / ARGUMENTS).exists()):
        raise no_run(run, SUMMARY)
    _require_phases(run, rows)
    steps = tuple(_half_step(*row) for row in _ends(rows))
    if len(steps) > MOST_HALF_STEPS:
        raise DataError(
            f"The run in {run} has {len(steps):,} half-steps.",
            reason=f"{MOST_HALF_STEPS:,} are the most that are shown.",
        )
    if not steps:
        raise DataError(
            f"The run in {run} has no half-step yet.",
            reason="No phase of it is over.",
            hint="Wait for the first evaluation, or resume the run if it was stopped before.",
        )
    return steps


def _require_phases(run: Path, rows: list[Row]) -> None:
    for where, row in rows:
        if "phase" not in row:
            raise DataError(
                f"{run} is not the folder of a run of restraint and relaxation iterations.",
                reason=f"Its {SUMMARY} has no column 'phase'; that of covtool finetune has none.",
                hint=f"Give the folder of a run of covtool svdnet-rri, or: covtool plot run {run}",
            )
        if _PHASE.fullmatch(str(row["phase"])) is None:
            phase = printable(repr(row["phase"]))
            raise damaged(where, f"{phase} is not a phase of such a run.")


def _ends(rows: list[Row]) -> Iterator[Row]:
    """Yield the last row of each phase that is over: another follows, or it is evaluated."""
    # Neighbors only: a phase that came again would be a damaged file, which is refused below.
    phases = [list(group) for _, group in groupby(rows, key=lambda row: row[1]["phase"])]
    for earlier, later in pairwise(phases):
        if phase_order(earlier[-1][1]["phase"]) >= phase_order(later[0][1]["phase"]):
            raise damaged(later[0][0], f"Its phase does not follow {earlier[-1][1]['phase']!r}.")
        yield earlier[-1]
    if phases and phases[-1][-1][1].get("eval_rank1") is not None:
        yield phases[-1][-1]


def _half_step(where: str, row: dict[str, Any]) -> HalfStep:
    def number(column: str) -> float:
        value = row.get(column)
        if not isinstance(value, float) or not abs(value) <= LARGEST_DRAWN:  # nor is NaN
            shown = printable(repr(value))
            raise damaged(where, f"{column} is {shown}, which is not a number that can be shown.")
        return value

    def optional(column: str) -> float | None:
        value = row.get(column)
        if isinstance(value, str):
            raise damaged(where, f"{column} is {printable(repr(value))}, which is not a number.")
        # A loss may have become infinite, and the half-step is still one.
        return value if value is not None and math.isfinite(value) else None

    return HalfStep(
        phase=row["phase"],
        epochs=int(number("epoch")) + 1,
        train_loss=optional("train_loss"),
        correlation=number("correlation"),
        smallest_eigenvalue_ratio=number("smallest_eigenvalue_ratio"),
        rank_1=number("eval_rank1"),
        rank_5=optional("eval_rank5"),
        mean_average_precision=number("eval_mAP"),
        mean_inverse_penalty=optional("eval_mINP"),
    )
