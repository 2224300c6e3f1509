"""The notes that a run gives, kept for its result and for the page about it."""

from collections.abc import Callable, Sequence

from covtool.run_files.notes import note_line
from covtool.training.run.observer import Observer, Observers, TrainingPlan
from covtool.training.run.records import EpochRecord

MOST_BYTES = 256 * 1024
"""Bytes of all notes that are kept: a note on each of a million images helps no reader."""
LONGEST = 5_000
"""Characters of a note; a longer one is kept without its end."""

MORE = "Further notes were given than are kept here: there were too many."


class KeptNotes(Observers):
    """Passes events on, and keeps each note once, in the order of the first time.

    Args:
        observer: Observer of the run.
        earlier: Notes of the part before, of a run that goes on; they are in its file.
        several: Whether this is of several runs: a note that one of them gives while it is under
            way is kept with its name.
    """

    def __init__(
        self, observer: Observer, earlier: Sequence[str] = (), *, several: bool = False
    ) -> None:
        super().__init__(observer)
        self._kept = dict.fromkeys(earlier)
        self._bytes = sum(map(_size, self._kept))
        self._unwritten: list[str] = []
        self._append: Callable[[str], object] = self._unwritten.append
        self._several, self._run = several, ""

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes so far."""
        return tuple(self._kept)

    def announce(self, text: str) -> None:
        """Pass on a note that says nothing about what will come of the run."""
        super().on_note(text)

    def write_to(self, append: Callable[[str], object], *, anew: bool = False) -> None:
        """Write the notes that are not in their file yet, and from now on each as it is given.

        Args:
            append: Function that adds a note to the file.
            anew: Whether the file is gone, so that those of the part before are written again.
        """
        for text in self.notes if anew else self._unwritten:
            append(text)
        self._append = append

    def on_start(self, plan: TrainingPlan) -> None:
        if self._several and plan.directory is not None:
            self._run = f"{plan.directory.name}: "
        super().on_start(plan)

    def on_epoch(self, record: EpochRecord) -> None:
        if record.replaced:  # the line of the epoch says it, and no file does
            count = f"{record.replaced} training image{'s' * (record.replaced > 1)}"
            self._keep(
                f"In epoch {record.epoch}, {count} could not be read: others took their place."
            )
        super().on_epoch(record)

    def on_end(self) -> None:
        self._run = ""
        super().on_end()

    def on_note(self, text: str) -> None:
        self._keep(text)
        super().on_note(text)

    def _keep(self, text: str) -> None:
        # A path may have half a character, which no reader of these files takes.
        text = f"{self._run}{text}".encode("utf-8", "backslashreplace").decode("utf-8")
        if len(text) > LONGEST:
            text = f"{text[:LONGEST]}..."
        if text not in self._kept and self._bytes + _size(text) > MOST_BYTES:
            text = MORE
        if text not in self._kept:
            self._kept[text] = None
            self._bytes += _size(text)
            self._append(text)


def _size(text: str) -> int:
    return len(note_line(text))
