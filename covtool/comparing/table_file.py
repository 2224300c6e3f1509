"""A comparison as a CSV file: a line for each row, and for each head without one the reason."""

import csv
import shlex
from pathlib import Path

from covtool.atomic import written_whole
from covtool.comparing.candidates import head_text, in_pixels
from covtool.comparing.records import ComparedRow, Comparison, LeftOutRow

COLUMNS = (
    *("label", "checkpoint", "img_size", "taps", "head", "metric", "figure", "low", "high"),
    *("difference", "difference_low", "difference_high", "rank_1", "left_out_loss"),
    *("queries", "projected_to"),
    *(
        "features",
        "parameters",
        "gflops",
        "ms_per_image",
        "memory_mib",
        "near_best",
        "on_front",
        "recommended",
    ),
    *("command", "reason"),
)


def write_table(comparison: Comparison, path: Path, *, overwrite: bool = False) -> None:
    """Write a comparison as CSV.

    Args:
        comparison: The comparison.
        path: File to write.
        overwrite: Whether to replace an existing file.

    Raises:
        OutputExistsError: The file exists.
        SaveError: The system refuses to write.
    """
    with (
        written_whole(path, overwrite=overwrite) as file,
        file.open("w", newline="", encoding="utf-8") as opened,
    ):
        writer = csv.DictWriter(opened, COLUMNS, restval="")
        writer.writeheader()
        for row in comparison.rows:
            writer.writerow(_line(row) | _figures(row, comparison))
        for left_out in comparison.left_out:
            writer.writerow(_line(left_out) | {"reason": left_out.reason})


def _line(row: ComparedRow | LeftOutRow) -> dict[str, object]:
    return {
        "label": row.label,
        "checkpoint": row.checkpoint,
        "img_size": in_pixels(row.img_size),
        "taps": " ".join(row.taps),
        "head": head_text(row.head),
    }


def _figures(row: ComparedRow, comparison: Comparison) -> dict[str, object]:
    numbers = ("figure", "difference", "rank_1", "left_out_loss", "projected_to")
    sizes = ("features", "parameters")
    marks = ("gflops", "ms_per_image", "memory_mib", "near_best", "on_front", "recommended")
    return {
        **{name: getattr(row, name) for name in (*numbers, *sizes, *marks)},
        "metric": comparison.metric,
        "queries": comparison.queries,
        "low": row.interval[0],
        "high": row.interval[1],
        "difference_low": row.difference_interval[0],
        "difference_high": row.difference_interval[1],
        "command": shlex.join(row.command),
    }
