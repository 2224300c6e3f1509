"""What `covtool svdnet-rri` writes of its epochs, without training anything."""

import csv
import json
from pathlib import Path

COLUMNS = (
    *("epoch", "phase", "train_loss", "eval_rank1", "eval_rank5", "eval_rank10", "eval_rank20"),
    *("eval_mAP", "eval_mINP", "eval_r_precision", "eval_mAP_at_R"),
    *("correlation", "smallest_eigenvalue_ratio", "lr", "head"),
)


def phases_of(iterations: int, *, base: bool = True) -> list[str]:
    """Names of all phases in order."""
    turns = [f"{name} {i + 1}" for i in range(iterations) for name in ("restraint", "relaxation")]
    return ["start", *(["base"] if base else []), *turns]


def rows_of(phases: list[str], *, epochs: int = 2) -> list[dict[str, object]]:
    """A row for the start, `epochs` for each phase after it; figures are different in each."""
    rows = [_row(-1, phases[0], evaluated=True)]
    for number, phase in enumerate(phases[1:]):
        for epoch in range(epochs):
            done = number * epochs + epoch
            rows.append(_row(done, phase, evaluated=epoch == epochs - 1))
    return rows


def write_svdnet_run(
    path: Path, iterations: int = 2, *, base: bool = True, epochs: int = 2, updates: int = 3
) -> Path:
    """A finished run with so many `updates` in an epoch."""
    path.mkdir(parents=True)
    (path / "args.yaml").touch()
    phases = phases_of(iterations, base=base)
    write_rows(path, rows_of(phases, epochs=epochs))
    steps = range(1, updates * epochs * (len(phases) - 1) + 1)
    lines = [
        {"epoch": 1 + (u - 1) // updates, "update": u, "loss": 2 / u, "lr": 0.1} for u in steps
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    """The file of epochs."""
    with (path / "summary.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _row(epoch: int, phase: str, *, evaluated: bool) -> dict[str, object]:
    figures = [50 + epoch + 0.1 * i if evaluated else "" for i in range(8)]
    correlation = 1.0 if phase.startswith("restraint") else 0.1 + 0.001 * (epoch + 1)
    started = epoch >= 0
    tail = (correlation, correlation / 2, 0.001 if started else "", "gap")
    values = (epoch, phase, 3 / (epoch + 2) if started else "", *figures, *tail)
    return dict(zip(COLUMNS, values, strict=True))
