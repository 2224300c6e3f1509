"""What a new run says about its data set before it trains."""

from collections.abc import Callable, Iterable
from functools import partial

from covtool.data.datasets.class_findings import notes_on_classes
from covtool.data.datasets.duplicates import COMPARED_AT_MOST, notes_on_equal_files
from covtool.data.datasets.layout import DataLayout
from covtool.processes import Processes
from covtool.progress import Track
from covtool.training.run.observer import Observer

Look = Callable[[DataLayout, Processes, Track], Iterable[str]]
"""Looks through a data set, in all processes together, and returns notes on it."""


def uneven_and_equal(layout: DataLayout, processes: Processes, track: Track) -> tuple[str, ...]:
    """Return notes on uneven and small classes, and on which files are equal."""
    compare = partial(notes_on_equal_files, layout, at_most=COMPARED_AT_MOST, track=track)
    return (*notes_on_classes(layout), *processes.main(compare))


class DataNotes:
    """Notes on a data set, looked for once, of which each run on it is given all.

    Args:
        look: Looks for them.
    """

    def __init__(self, look: Look = uneven_and_equal) -> None:
        self._look = look
        self._notes: tuple[str, ...] | None = None

    def give(self, layout: DataLayout, observer: Observer, processes: Processes) -> None:
        """Give the notes to a run. All processes must call this."""
        if self._notes is None:
            self._notes = tuple(self._look(layout, processes, observer.track))
        for note in self._notes:
            observer.on_note(note)
