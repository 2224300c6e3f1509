"""What a new run says about its data set before it trains."""

from covtool.data.datasets.class_findings import notes_on_classes
from covtool.data.datasets.duplicates import COMPARED_AT_MOST, notes_on_equal_files
from covtool.data.datasets.layout import DataLayout
from covtool.processes import Processes
from covtool.training.run.observer import Observer


def note_data(layout: DataLayout, observer: Observer, processes: Processes) -> None:
    """Report uneven and small classes of a data set, and which of its files are equal.

    All processes must call this.
    """
    for note in notes_on_classes(layout):
        observer.on_note(note)
    equal = processes.main(
        lambda: notes_on_equal_files(layout, at_most=COMPARED_AT_MOST, track=observer.track)
    )
    for note in equal:
        observer.on_note(note)
