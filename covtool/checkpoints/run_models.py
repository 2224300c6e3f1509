"""The model that a run's folder stands for, by the names of the files in it; none is opened."""

from pathlib import Path

from covtool.checkpoints.places import is_run, is_there
from covtool.errors import CheckpointError
from covtool.printable import printable
from covtool.regular_files import is_regular
from covtool.run_files import EXPORTED, STATES, is_repeats, named_runs

BEST, LAST = "best", "last"

_CHOICE = "@"  # RUN@last


def find_in_run(source: str | Path) -> tuple[Path | None, tuple[str, ...]]:
    """Return the file that stands for a run: its best exported model, or what is asked for.

    Args:
        source: A run's folder; with ``@last``, ``@best`` or ``@epoch-3`` behind it that model.

    Returns:
        The file, and a note that says so; None and nothing where `source` is not a run.

    Raises:
        CheckpointError: The run has no such model, or there are several runs.
    """
    folder, choice = run_named(source)
    if folder is None:
        return None, ()
    found = [folder / EXPORTED / f"{name}.safetensors" for name in (choice or BEST, choice or LAST)]
    found.append(folder / STATES / f"{choice or BEST}.pt")  # the same model, should it be gone
    path = next((path for path in found if is_regular(path)), None)
    if path is None:
        raise _nothing_in(folder, choice)
    other = f"; {folder}{_CHOICE}{LAST} takes the last" if path.stem == BEST and not choice else ""
    return path, (f"Of the run {folder}, {path.relative_to(folder)} is taken{other}.",)


def run_named(source: str | Path) -> tuple[Path | None, str]:
    """Return a run's folder and the model of it that is asked for; None without such a run.

    Args:
        source: See `find_in_run`.

    Raises:
        CheckpointError: It is a folder of several runs.
    """
    refuse_several(source)
    if is_run(Path(source)):
        return Path(source), ""
    folder, _, choice = str(source).rstrip("/").rpartition(_CHOICE)
    chosen = folder and choice and is_run(Path(folder)) and not is_there(Path(source))
    return (Path(folder), choice) if chosen else (None, "")


def refuse_several(source: str | Path) -> None:
    """Refuse a folder of several runs, which is not one model.

    Args:
        source: Any name of a model, perhaps with ``@last`` behind it.

    Raises:
        CheckpointError: It is such a folder; the runs in it are named.
    """
    for folder in (str(source), str(source).rstrip("/").rpartition(_CHOICE)[0]):
        if folder and is_repeats(Path(folder)):
            raise CheckpointError(
                f"{printable(folder, longest=400)} is a folder of several runs, each with a model "
                "of its own.",
                reason=f"They are: {named_runs(Path(folder))}.",
                hint="Choose one of them; covtool diff RUNS --against RUNS compares their figures.",
            )


def _nothing_in(folder: Path, choice: str) -> CheckpointError:
    exported = sorted((folder / EXPORTED).glob("*.safetensors"))
    states = sorted((folder / STATES).glob("*.pt"))
    there = ", ".join(dict.fromkeys(path.stem for path in (*exported, *states)))
    if choice:
        return CheckpointError(
            f"The run {folder} has no model called {printable(choice, longest=100)}.",
            reason=f"It has {there or 'none yet'}.",
            hint=f"Give the folder alone for the best one, or {folder}{_CHOICE}{LAST}.",
        )
    resume = f"Go on with: covtool finetune --resume {folder}."
    return CheckpointError(
        f"The run {folder} has no exported model yet.",
        reason="Its first epoch is not done, or the files in it were removed.",
        hint=f"{resume} Or take the state as it is: {states[0]}." if states else resume,
    )
