"""A folder of several runs, the repeats of one: which runs are in it, and how they are called."""

import re
from collections.abc import Iterable
from pathlib import Path

from covtool.errors import ArgumentError
from covtool.printable import first_few, printable
from covtool.regular_files import is_regular
from covtool.run_files.names import ARGUMENTS, REPEATS

SHOWN = 8


def is_repeats(folder: Path) -> bool:
    """Return whether a folder is that of several runs, as ``--seeds`` and ``--folds`` make it."""
    return is_regular(Path(folder) / REPEATS)


def runs_in(folder: Path) -> list[Path]:
    """Return the runs in a folder of several that were started, by seed and fold."""
    try:
        found = [child for child in Path(folder).iterdir() if is_regular(child / ARGUMENTS)]
    except OSError:
        return []
    return sorted(found, key=lambda child: _numbers_in(child.name))


def runs_to_compare(names: Iterable[str | Path]) -> list[Path]:
    """Return runs whose final figures are to be compared, as `runs_of` does.

    Raises:
        ArgumentError: A name leads neither to the folder of a run nor to one of several.
    """
    found: list[Path] = []
    for folder in map(Path, names):
        inside = runs_of([folder])
        if not inside or not all(is_regular(run / ARGUMENTS) for run in inside):
            raise ArgumentError(
                f"{folder} is not the folder of a run, nor of several.",
                reason=_what_is_there(folder),
                hint="--against compares the final figures of runs; two models are compared by "
                "covtool diff A B.",
            )
        found += inside
    return found


def _what_is_there(folder: Path) -> str:
    if folder.is_dir():
        return f"It has no {ARGUMENTS}."
    return "It is a file." if folder.exists() else "There is no such folder."


def runs_of(folders: Iterable[Path]) -> list[Path]:
    """Return runs, each folder of several replaced by those in it."""
    return [
        run
        for folder in folders
        for run in (runs_in(folder) if is_repeats(folder) else [Path(folder)])
    ]


def named_runs(folder: Path) -> str:
    """Return the paths of the runs in a folder, in a row."""
    runs = runs_in(folder)
    return first_few(runs, SHOWN, show=lambda run: printable(str(run))) if runs else "none yet"


def _numbers_in(name: str) -> tuple[tuple[int, ...], str]:
    # Fold 10 comes after fold 9.
    return tuple(int(digits[:18]) for digits in re.findall(r"[0-9]+", name)), name
